/**
 * The algebra of samplers: sums of vectors that have no values yet.
 *
 * A sampler is written once with combinations in place of latents. What comes out is not a picture but the matrix that
 * makes one, and whoever owns the numbers applies it.
 * @module
 */

/** A weighted sum of the inputs of a step: one coefficient for each input. */
export type Combination = readonly number[];

/** The combinations that are the inputs themselves. */
export function basis(inputs: number): Combination[] {
  return Array.from({ length: inputs }, (_, row) => Array.from({ length: inputs }, (_, column) => +(row === column)));
}

/** `a x + b y + ...` for terms `[a, x], [b, y], ...`. */
export function combine(...terms: readonly (readonly [factor: number, of: Combination])[]): Combination {
  const [[, { length }]] = terms as [[number, Combination]];
  return Array.from({ length }, (_, i) => terms.reduce((sum, [factor, of]) => sum + factor * of[i]!, 0));
}

/** `(x - y) / by`, a divided difference. */
export function difference(x: Combination, y: Combination, by: number): Combination {
  return combine([1 / by, x], [-1 / by, y]);
}
