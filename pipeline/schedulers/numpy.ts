/**
 * The few functions of numpy that timesteps are made with, the same to the last bit.
 * @module
 */

/** `count` evenly spaced numbers from `start` to `end`, both included. */
export function linspace(start: number, end: number, count: number): number[] {
  const step = (end - start) / (count - 1);
  return Array.from({ length: count }, (_, i) => i === 0 ? start : i === count - 1 ? end : start + i * step);
}

/** The numbers from `start` down to above 0, `step` apart. */
export function descend(start: number, step: number): number[] {
  const delta = start - (start - step);
  return Array.from({ length: Math.ceil(start / step) }, (_, i) => start - i * delta);
}

/** The whole number nearest to `x`, which is not negative; halves go to the even one. */
export function round(x: number): number {
  const below = Math.floor(x);
  if (x - below === 0.5) return below + below % 2;
  return Math.round(x);
}

/** The value at `x` of the straight lines through (0, y[0]), (1, y[1]), ...; constant beyond the ends. */
export function interpolate(x: number, y: readonly number[]): number {
  const at = Math.min(Math.max(x, 0), y.length - 1);
  const below = Math.min(Math.floor(at), y.length - 2);
  return (y[below + 1]! - y[below]!) * (at - below) + y[below]!;
}
