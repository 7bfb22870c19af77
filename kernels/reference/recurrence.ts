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
  /** How far the mix gets the standard deviation of the second array, 0 to 1; default 0. */
  readonly spread?: number;
  readonly transition: readonly (readonly number[])[];
  /** A mask, two values, and their factors. */
  readonly masked?: {
    readonly mask: Float64Array;
    readonly values: readonly [Float64Array, Float64Array];
    readonly factors: readonly [number, number];
  };
}

/** The states after one step. */
export function recurrence(
  { states, x, noise, mix, spread = 0, transition, masked }: RecurrenceInputs,
): readonly Float64Array[] {
  const [first, second = first!] = x;
  const mixed = first!.map((value, i) => value + mix * (second[i]! - value));
  const ratio = spread === 0 ? 1 : deviation(second) / deviation(mixed);
  const input = mixed.map((value) => spread * (value * ratio) + (1 - spread) * value);
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

function deviation(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}
