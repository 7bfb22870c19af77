/**
 * What products and Winograd outputs do to their sums: bias, activation, residual.
 * @module
 */
import { activationFunction, addPlus } from "../activations.ts";
import type { Epilogue } from "../backend.ts";
import type { Port } from "../kernel.ts";
import type { Memory } from "../tensor.ts";
import { access, addressSizes, port, scalarAccess, scalarPort } from "./layout.ts";

/** See {@link epilogueOperands}. */
export interface EpilogueOperands {
  readonly ports: readonly Port[];
  readonly memory: readonly Memory[];
  readonly sizes: Readonly<Record<string, number>>;
  readonly text: string;
  /** Whether all samples share the bias, so that {@link bias} does not depend on the quad. */
  readonly sharedBias: boolean;
  /** WGSL of the running step's bias in a row and the sample of a quad of `out`. */
  bias(row: string, quad: string): string;
  /** WGSL of what becomes of `sum`, a `vec4<f32>` with its bias, in a row and a quad of `out`; for `geglu` of its gate, too. */
  apply(sum: string, at: { readonly row: string; readonly quad: string; readonly gate?: string }): string;
}

/** Ports, memory and sizes of the operands that `spec` has, and the text that reads and applies them. */
export function epilogueOperands(spec: Epilogue): EpilogueOperands {
  const { bias, step, plus, activation = "none" } = spec;
  const tensors = { ...(bias && { bias }), ...(plus && { plus }) };
  const sharedBias = bias?.batch === 1;
  return {
    ports: [
      ...(bias ? [scalarPort("bias", bias)] : []),
      ...(plus ? [port("plus", plus)] : []),
      ...(step ? [{ kind: "buffer", name: "step", access: "read", element: "u32" } as const] : []),
    ],
    memory: [...Object.values(tensors).map(({ memory }) => memory), ...(step ? [step] : [])],
    sizes: Object.assign({}, ...Object.entries(tensors).map(([name, x]) => addressSizes(name, x))),
    text: [
      activationFunction(activation, "vec4<f32>"),
      bias ? scalarAccess("bias", bias) : "",
      plus ? access("plus", plus) : "",
    ].join("\n"),
    sharedBias,
    bias(row, quad) {
      const column = step ? "i32(step[0])" : "0";
      const sample = sharedBias ? "" : `(${quad}) / size.out_sample * size.bias_sample * 4 + `;
      return `bias_value(${row}, ${sample}${column})`;
    },
    apply: (sum, { row, quad, gate }) =>
      addPlus(spec, {
        sum,
        ...(plus && { plus: `plus_load(${row}, ${quad})` }),
        apply: (value) =>
          activation === "none"
            ? value
            : activation === "geglu"
            ? `(${value}) * gelu(${gate})`
            : `${activation}(${value})`,
      }),
  };
}
