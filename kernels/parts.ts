/**
 * Work in parts, so that no value is larger than what every WebGPU adapter can bind.
 * @module
 */

/** What every WebGPU adapter can bind in one piece. */
export const MOST_BOUND = 128 << 20;

export interface Part {
  readonly first: number;
  readonly count: number;
}

/** `count` things in parts of at most `most`; each part but the last a multiple of `unit`, and at least that. */
export function parts(count: number, most: number, unit: number): readonly Part[] {
  most = Math.max(unit, Math.floor(most / unit) * unit);
  // As even as can be: a small last part keeps a GPU waiting.
  const size = Math.ceil(count / Math.max(1, Math.ceil(count / most)) / unit) * unit;
  return Array.from({ length: Math.ceil(count / size) }, (_, i) => {
    const first = i * size;
    return { first, count: Math.min(size, count - first) };
  });
}
