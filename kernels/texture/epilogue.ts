/**
 * What products and Winograd outputs of the texture backend do to their sums. A bias and a step are bound whether a layer
 * has them or not: each combination would be another shader to compile (0.1-0.4 s).
 * @module
 */
import type { Activation, Epilogue } from "../backend.ts";
import { activationFunction, addPlus } from "../elementwise.ts";
import { bufferOperand, joinOperands, type Operands } from "../launch.ts";
import { type Memory, pixels, type Tensor } from "../tensor.ts";
import { reading } from "./layout.ts";

/** A slice above every texture: what is read there is zero (probed). */
const OUTSIDE = -(1 << 17);

/** Bound where no step is; whatever it holds is multiplied by zero. */
const NO_STEP: Memory = {
  layout: { kind: "buffer", element: "u32", stride: 4, bytes: 16 },
  label: "no step",
  kept: false,
};

/** `silu` and `quick_gelu` are one function, and one shader. */
const STEEPNESS: Partial<Record<Activation, number>> = { silu: 1, quick_gelu: 1.702 };

/** See {@link epilogueOf}. */
export interface EpilogueText {
  readonly operands: Operands;
  /** Numbers that the text reads. */
  readonly values: Readonly<Record<string, number>>;
  /** Whether each sample has a bias of its own: that is another shader. */
  readonly sampleBias: boolean;
  /** WGSL of the column of the running step's bias; `sample` counts where each has its own. */
  biasColumn(sample: string): string;
  /** WGSL of the value to store, from `sum` with its bias and for `geglu` its gate, at a slice and a column of `out`. */
  apply(sum: string, at: { readonly slice: string; readonly column: string; readonly gate?: string }): string;
}

/** A tensor to read; without one, zeros: outside of `spare`, any tensor of float32 texels. */
function readingOr(name: string, tensor: Tensor | undefined, spare: Tensor): Operands {
  const operands = reading({ [name]: tensor ?? spare });
  return tensor ? operands : { ...operands, sizes: { ...operands.sizes, [`${name}_slice`]: OUTSIDE } };
}

/**
 * The operands of `spec` and the text that applies them. `spare` is bound in place of a bias that is not there, and of a
 * residual where `residual` asks for one.
 */
export function epilogueOf(
  spec: Epilogue,
  spare: Tensor,
  { residual = spec.plus !== undefined }: { readonly residual?: boolean } = {},
): EpilogueText {
  const { bias, step, plus, activation = "none" } = spec;
  const steepness = STEEPNESS[activation];
  const function_ = steepness === undefined
    ? activationFunction(activation, "vec4<f32>")
    : "fn gated(x: vec4<f32>) -> vec4<f32> { return x / (1.0 + exp(-size.steepness * x)); }";
  const operands = joinOperands(
    readingOr("bias", bias, spare),
    bufferOperand("step", step ?? NO_STEP, "u32"),
    ...(residual ? [readingOr("plus", plus, spare)] : []),
  );
  const sampleBias = bias !== undefined && bias.batch > 1;
  return {
    operands: {
      ...operands,
      sizes: {
        ...operands.sizes,
        bias_columns_a_step: step ? 1 : 0,
        bias_columns_a_sample: bias ? pixels(bias) : 0,
      },
      text: `${operands.text}\n${function_}`,
    },
    values: steepness === undefined ? {} : { steepness },
    sampleBias,
    biasColumn(sample) {
      const column = "i32(step[0]) * size.bias_columns_a_step";
      return sampleBias ? `${column} + (${sample}) * size.bias_columns_a_sample` : column;
    },
    apply: (sum, { slice, column, gate }) =>
      addPlus(spec, {
        sum,
        ...(residual && { plus: `plus_load(${slice}, ${column})` }),
        apply(value) {
          if (activation === "none") return value;
          if (activation === "geglu") return `(${value}) * gelu(${gate})`;
          return steepness === undefined ? `${activation}(${value})` : `gated(${value})`;
        },
      }),
  };
}
