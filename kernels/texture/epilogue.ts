/**
 * What launches of the texture backend read beside their operands and do to their sums. A bias, a step and a residual
 * are bound whether a layer has them or not: each combination would be another shader to compile (0.1-0.4 s).
 * @module
 */
import { activationFunction } from "../activations.ts";
import type { Activation, Epilogue } from "../backend.ts";
import type { Port } from "../kernel.ts";
import { type Memory, pixels, type Tensor } from "../tensor.ts";
import { addressSizes, readPort } from "./layout.ts";

/** Ports of a kernel, the memory behind them and the sizes that {@link addressing} of them reads. */
export interface Operands {
  readonly ports: readonly Port[];
  readonly memory: readonly Memory[];
  readonly sizes: Readonly<Record<string, number>>;
}

/** A slice above every texture: what is read there is zero (probed). */
const OUTSIDE = -(1 << 17);

/** Bound where no step is; whatever it holds is multiplied by zero. */
const NO_STEP: Memory = {
  layout: { kind: "buffer", element: "u32", stride: 4, bytes: 16 },
  label: "no step",
  kept: false,
};

/** A tensor to read; without one, zeros: outside of `spare`, any tensor of float32 texels. */
export function readOperand(name: string, tensor: Tensor | undefined, spare: Tensor): Operands {
  const sizes = addressSizes(name, tensor ?? spare);
  return {
    ports: [readPort(name, tensor ?? spare)],
    memory: [(tensor ?? spare).memory],
    sizes: tensor ? sizes : { ...sizes, [`${name}_slice`]: OUTSIDE },
  };
}

/** A layer's bias, or zeros, which {@link biasColumn} addresses. */
export function biasOperands({ bias, step }: Epilogue, spare: Tensor): Operands {
  const read = readOperand("bias", bias, spare);
  return {
    ports: [...read.ports, { kind: "buffer", name: "step", access: "read", element: "u32" }],
    memory: [...read.memory, step ?? NO_STEP],
    sizes: { ...read.sizes, bias_columns_a_step: step ? 1 : 0, bias_columns_a_sample: bias ? pixels(bias) : 0 },
  };
}

/** Whether each sample has a bias of its own: that is another shader. */
export function hasSampleBias({ bias }: Epilogue): boolean {
  return bias !== undefined && bias.batch > 1;
}

/** WGSL of the column of the bias that the running step takes, of a sample where each has its own. */
export function biasColumn(sample?: string): string {
  const column = "i32(step[0]) * size.bias_columns_a_step";
  return sample === undefined ? column : `${column} + (${sample}) * size.bias_columns_a_sample`;
}

/** Operands one after the other. */
export function joinOperands(...operands: readonly Operands[]): Operands {
  return {
    ports: operands.flatMap(({ ports }) => ports),
    memory: operands.flatMap(({ memory }) => memory),
    sizes: Object.assign({}, ...operands.map(({ sizes }) => sizes)),
  };
}

/** `silu` and `quick_gelu` are one function, and one shader. */
const STEEPNESS: Partial<Record<Activation, number>> = { silu: 1, quick_gelu: 1.702 };

/** An activation in WGSL. */
export interface ActivationText {
  /** The function, if there is one. */
  readonly text: string;
  /** A call of it; for `geglu` of the gate's GELU. */
  readonly apply: (value: string) => string;
  /** Numbers that it reads. */
  readonly values: Readonly<Record<string, number>>;
}

/** The text of an activation. */
export function activationText(activation: Activation): ActivationText {
  const steepness = STEEPNESS[activation];
  if (steepness !== undefined) {
    const text = "fn gated(x: vec4<f32>) -> vec4<f32> { return x / (1.0 + exp(-size.steepness * x)); }";
    return { text, apply: (value) => `gated(${value})`, values: { steepness } };
  }
  const text = activationFunction(activation, "vec4<f32>");
  const name = activation === "geglu" ? "gelu" : activation;
  return { text, apply: (value) => activation === "none" ? value : `${name}(${value})`, values: {} };
}
