/**
 * What products and Winograd outputs do to their sums: bias, activation, residual.
 * @module
 */
import type { Epilogue } from "../backend.ts";
import { activationFunction, addPlus } from "../elementwise.ts";
import { bufferOperand, joinOperands, type Operands } from "../launch.ts";
import { reading, readingScalars } from "./layout.ts";

/** See {@link epilogueOf}. */
export interface EpilogueText {
  readonly operands: Operands;
  /** Whether all samples share the bias, so that {@link bias} does not depend on the quad. */
  readonly sharedBias: boolean;
  /** WGSL of the running step's bias in a row and the sample of a quad of `out`. */
  bias(row: string, quad: string): string;
  /** WGSL of the value to store, from `sum` with its bias and for `geglu` its gate, in a row and a quad of `out`. */
  apply(sum: string, at: { readonly row: string; readonly quad: string; readonly gate?: string }): string;
}

/** The operands that `spec` has, and the text that applies them. */
export function epilogueOf(spec: Epilogue): EpilogueText {
  const { bias, step, plus, activation = "none" } = spec;
  const sharedBias = bias?.batch === 1;
  const operands = joinOperands(
    ...(bias ? [readingScalars({ bias })] : []),
    ...(plus ? [reading({ plus })] : []),
    ...(step ? [bufferOperand("step", step, "u32")] : []),
  );
  return {
    operands: { ...operands, text: `${operands.text}\n${activationFunction(activation, "vec4<f32>")}` },
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
        apply(value) {
          if (activation === "none") return value;
          return activation === "geglu" ? `(${value}) * gelu(${gate})` : `${activation}(${value})`;
        },
      }),
  };
}
