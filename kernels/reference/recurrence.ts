/**
 * A linear recurrence as its definition says.
 * @module
 */

/** What one step reads: values, and the coefficients of `kernels/recurrence.ts`. */
export interface RecurrenceInputs {
  readonly states: readonly Float64Array[];
  /** One array, or two to be mixed. */
  readonly x: readonly Float64Array[];
  readonly noise: Float64Array;
  readonly mix: number;
  readonly transition: readonly (readonly number[])[];
  /** A mask, two values, and their factors. */
  readonly masked?: {
    readonly mask: Float64Array;
    readonly values: readonly [Float64Array, Float64Array];
    readonly factors: readonly [number, number];
  };
}

/** The states after one step. */
export function recurrence({ states, x, noise, mix, transition, masked }: RecurrenceInputs): readonly Float64Array[] {
  const [first, second = first!] = x;
  const input = first!.map((value, i) => value + mix * (second[i]! - value));
  const columns = [...states, input, noise];
  return transition.map((row, state) =>
    input.map((_, i) => {
      const sum = row.reduce((sum, factor, c) => sum + factor * columns[c]![i]!, 0);
      if (state > 0 || !masked) return sum;
      const { mask, values: [a, b], factors } = masked;
      return mask[i]! * sum + (1 - mask[i]!) * (factors[0] * a[i]! + factors[1] * b[i]!);
    })
  );
}
