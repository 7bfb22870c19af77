/**
 * The paper's optimizations (arXiv 2304.11267) one by one, so that each can be measured. Where one is off, the same
 * products and direct convolutions run with what baseline.ts has.
 * @module
 */

/** Which optimizations run, and for which shapes. */
export interface Optimizations {
  /** Section 3.2.1: exponentials inside the product with the values; off, probabilities pass through memory. */
  readonly softmax: boolean;
  /** Section 3.1: group normalisation and SiLU in one shader; off, statistics, values and SiLU are separate launches. */
  readonly normalization: boolean;
  /** Section 3.1: GEGLU in its projection's shader; off, GELU of the gates and the product are separate launches. */
  readonly gelu: boolean;
  /** Section 3.2.2: attention without scores in memory. */
  readonly flash: boolean;
  /** Section 3.3: 3x3 convolutions by Winograd's F(4x4, 3x3). */
  readonly winograd: boolean;
  /** Not the paper's: products, convolutions and attention on a subgroup's matrices, where the adapter has them. */
  readonly matrices: boolean;
  /** Shapes of those that are on: where they were measured to pay, where the paper runs them, or all that they can. */
  readonly shapes: "measured" | "paper" | "all";
}

/** Everything off. */
export const BASELINE: Optimizations = {
  softmax: false,
  normalization: false,
  gelu: false,
  flash: false,
  winograd: false,
  matrices: false,
  shapes: "measured",
};

const ALL = { softmax: true, normalization: true, gelu: true, flash: true, winograd: true } as const;

/** What is fastest by measurement. */
export const AUTO: Optimizations = { ...ALL, matrices: true, shapes: "measured" };

/** What the paper runs. */
export const PAPER: Optimizations = { ...ALL, matrices: false, shapes: "paper" };

const PRESETS = new Map([["auto", AUTO], ["paper", PAPER], ["baseline", BASELINE]]);

/** Names of the optimizations, in the order of the paper's table. */
export const OPTIMIZATIONS = ["softmax", "normalization", "gelu", "flash", "winograd", "matrices"] as const;

/**
 * Optimizations as text: a preset, `auto`, `paper` or `baseline`, and what is on in addition, separated by commas.
 *
 * @throws {RangeError} for any other name.
 */
export function readOptimizations(text: string): Optimizations {
  const [name = "", ...additions] = text.split(",");
  const preset = PRESETS.get(name);
  const known: readonly string[] = OPTIMIZATIONS;
  if (!preset || !additions.every((addition) => known.includes(addition))) {
    const presets = [...PRESETS.keys()].join(", ");
    throw new RangeError(
      `must be one of ${presets}, then any of ${known.join(", ")} after commas, got ${JSON.stringify(text)}`,
    );
  }
  return { ...preset, ...Object.fromEntries(additions.map((addition) => [addition, true])) };
}
