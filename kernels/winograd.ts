/**
 * Winograd's minimal filtering F(4x4, 3x3) and F(2x2, 3x3) (arXiv 1509.09308, equation 13):
 * `Y = A^T [(G g G^T) * (B^T d B)] A`. Four times, or 2.25 times, fewer products than the definition, for transforms of the
 * weights (once), the input and the output.
 * @module
 */
import { unroll } from "./kernel.ts";

type Matrix = readonly (readonly number[])[];

/** A minimal filtering of 3x3 windows. */
export interface Filtering {
  /** Outputs of a tile along one side. */
  readonly tile: number;
  /** Inputs of a tile along one side. */
  readonly patch: number;
  /** Products of a tile: one matrix product each. */
  readonly points: number;
  /** B^T of the input, G of the weights and A^T of the output. */
  readonly matrices: Readonly<Record<"input" | "weights" | "output", Matrix>>;
}

/** Of float32: its transforms make errors 94 times larger. */
export const F4: Filtering = filtering({
  input: [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
  ],
  weights: [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
  ],
  output: [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
  ],
});

/** Its transforms add and halve, and make errors 5 times larger: what float16 bears. */
export const F2: Filtering = filtering({
  input: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
  weights: [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
  output: [[1, 1, 1, 0], [0, 1, -1, -1]],
});

function filtering(matrices: Filtering["matrices"]): Filtering {
  const patch = matrices.input.length;
  return { tile: matrices.output.length, patch, points: patch ** 2, matrices };
}

/** `sum_i row[i] name(i)`. */
function combination(row: readonly number[], name: (i: number) => string): string {
  const terms = row.flatMap((factor, i) => {
    if (factor === 0) return [];
    const size = Math.abs(factor) === 1 ? name(i) : `${Math.abs(factor).toPrecision(10)} * ${name(i)}`;
    return [{ sign: factor < 0 ? "-" : "+", size }];
  });
  return terms.map(({ sign, size }, i) => i === 0 ? (sign === "-" ? `-${size}` : size) : ` ${sign} ${size}`).join("");
}

/**
 * WGSL statements that compute `M x M^T` of the matrix `from{i}_{j}` of values as `to{i}_{j}`, M being the transform
 * of `what`, whose columns begin at `first`. Values may be of any float type.
 */
export function transformText(
  { matrices }: Filtering,
  what: keyof Filtering["matrices"],
  from: string,
  to: string,
  first = 0,
): string {
  const matrix = matrices[what];
  const inner = matrix[0]!.length;
  const half = unroll(
    matrix.length,
    (i) =>
      unroll(inner, (j) => `let ${to}half${i}_${j} = ${combination(matrix[i]!, (k) => `${from}${k}_${first + j}`)};`),
  );
  const whole = unroll(
    matrix.length,
    (i) =>
      unroll(matrix.length, (j) => `let ${to}${i}_${j} = ${combination(matrix[j]!, (k) => `${to}half${i}_${k}`)};`),
  );
  return `${half}\n${whole}`;
}

/** Tiles that cover `extent` outputs. */
export function tiles({ tile }: Filtering, extent: number): number {
  return Math.ceil(extent / tile);
}

/** Text made by `text(i, j)` for each value of a patch of `size` x `size`. */
export function eachPoint(size: number, text: (i: number, j: number) => string): string {
  return unroll(size, (i) => unroll(size, (j) => text(i, j)));
}
