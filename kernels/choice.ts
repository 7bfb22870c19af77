/**
 * Which of several kernels runs a shape.
 * @module
 */
import type { Family, Window } from "./family.ts";
import { POINTS, TILE, tiles } from "./winograd.ts";

/** Whether Winograd is faster than the direct convolution, by what was measured on llvmpipe and on an H100. */
export function winogradPays(
  family: Family["name"],
  layer: { readonly in: number; readonly out: number; readonly window: number },
  window: Window,
  batch: number,
): boolean {
  if (layer.window !== 3 || window.stride !== 1) return false;
  const count = batch * tiles(window.outputHeight) * tiles(window.outputWidth);
  const channels = Math.min(layer.in, layer.out);
  if (family === "buffer") return channels >= 128 && count >= 64 && window.outputWidth % TILE === 0;
  // A texture of transformed weights is at most 16,384 texels high.
  return channels >= 64 && count >= 16 && POINTS * layer.in / 4 <= 16384;
}

/**
 * Whether attention without stored scores is worth its shader: one for each head width, and the largest of all to
 * compile (0.1 s where a product takes 0.02).
 */
export function flashPays(queries: number, keys: number): boolean {
  return queries * keys >= 1 << 13;
}
