/**
 * What products and Winograd outputs do to their sums: bias, activation, residual.
 * @module
 */
import { activationFunction } from "../activations.ts";
import type { Epilogue } from "../backend.ts";
import type { Port } from "../kernel.ts";
import type { Memory } from "../tensor.ts";
import { access, addressSizes, port } from "./layout.ts";

/** `bias_at(row)`: the bias of an output row, of the running step where it changes from step to step. */
function biasText(step: boolean): string {
  const column = step ? "i32(step[0])" : "0";
  return `fn bias_at(row: i32) -> f32 { return bias[(size.bias_row + row) * size.bias_stride * 4 + ${column}]; }`;
}

/** See {@link epilogueOperands}. */
export interface EpilogueOperands {
  readonly ports: readonly Port[];
  readonly memory: readonly Memory[];
  readonly sizes: Readonly<Record<string, number>>;
  readonly text: string;
}

/** Ports, memory and sizes of the operands that `spec` has, and the text that reads them. */
export function epilogueOperands(spec: Epilogue): EpilogueOperands {
  const ports: Port[] = [];
  const memory: Memory[] = [];
  const sizes: Record<string, number> = {};
  const text: string[] = [activationFunction(spec.activation ?? "none", "vec4<f32>")];
  if (spec.bias) {
    ports.push({ kind: "buffer", name: "bias", access: "read", element: "f32" });
    memory.push(spec.bias.memory);
    Object.assign(sizes, addressSizes("bias", spec.bias));
    text.push(biasText(spec.step !== undefined));
  }
  if (spec.plus) {
    ports.push(port("plus", spec.plus));
    memory.push(spec.plus.memory);
    Object.assign(sizes, addressSizes("plus", spec.plus));
    text.push(access("plus", spec.plus));
  }
  if (spec.step) {
    ports.push({ kind: "buffer", name: "step", access: "read", element: "u32" });
    memory.push(spec.step);
  }
  return { ports, memory, sizes, text: text.join("\n") };
}
