/**
 * Which of several kernels runs a shape.
 * @module
 */
import type { Backend, Window } from "./backend.ts";
import type { Optimizations } from "./optimizations.ts";
import { HIGHEST, WIDEST } from "./texture/layout.ts";
import { POINTS, tiles } from "./winograd.ts";

/** A layer as a choice sees it, see {@link Layer}. */
interface LayerShape {
  readonly in: number;
  readonly out: number;
  /** Taps along one side. */
  readonly window: number;
}

/** Whether a backend's Winograd kernels can run a convolution. */
function winogradFits(backend: Backend["name"], layer: LayerShape, window: Window, batch: number): boolean {
  if (layer.window !== 3 || window.stride !== 1) return false;
  // Rows of pixels are stored four at a time.
  if (backend === "buffer") return window.outputWidth % 4 === 0;
  // What is wider is folded, and becomes higher.
  const folds = Math.ceil(batch * tilesOf(window) / WIDEST);
  return POINTS / 4 * Math.max(layer.in, layer.out) * folds <= HIGHEST;
}

function tilesOf(window: Window): number {
  return tiles(window.outputHeight) * tiles(window.outputWidth);
}

/** Whether Winograd is faster than the direct convolution, by what was measured on llvmpipe and on an H100. */
export function winogradPays(backend: Backend["name"], layer: LayerShape, window: Window, batch: number): boolean {
  if (!winogradFits(backend, layer, window, batch)) return false;
  const count = batch * tilesOf(window);
  const channels = Math.min(layer.in, layer.out);
  return backend === "buffer" ? channels >= 128 && count >= 64 : channels >= 64 && count >= 16;
}

/** Whether Winograd takes the place of the direct convolution. */
export function winogradRuns(
  on: Optimizations,
  backend: Backend["name"],
  layer: LayerShape,
  window: Window,
  batch: number,
): boolean {
  if (!on.winograd) return false;
  if (on.shapes === "measured") return winogradPays(backend, layer, window, batch);
  const few = Math.min(layer.in, layer.out) < 64 || tilesOf(window) < 32;
  return winogradFits(backend, layer, window, batch) && !(few && on.shapes === "paper");
}

/** The kernels of a convolution, those that the rules choose first: the direct one, and Winograd's where it can run. */
export function convolutionKernels(
  on: Optimizations,
  backend: Backend["name"],
  layer: LayerShape,
  window: Window,
  batch: number,
): readonly ("Winograd" | "direct")[] {
  if (!on.winograd || !winogradFits(backend, layer, window, batch)) return ["direct"];
  return winogradRuns(on, backend, layer, window, batch) ? ["Winograd", "direct"] : ["direct", "Winograd"];
}

/** An attention whose kernels are to be chosen. */
export interface AttentionShape {
  /** Whose kernels. */
  readonly backend: Backend["name"];
  /** Channels of a head. */
  readonly width: number;
  readonly queries: number;
  readonly keys: number;
}

/** Whether attention runs without scores in memory. */
export function flashRuns(on: Optimizations, { width, queries, keys }: AttentionShape): boolean {
  if (!on.flash || on.shapes === "all") return on.flash;
  if (on.shapes === "paper") return width <= 40 && queries >= 1024;
  // For a few tokens it is not worth its shader: one for each head width, and the largest of all to compile. On llvmpipe
  // heads of 40 take 1.1 s to compile, and save 0.3 ms where 64 queries meet 64 keys.
  return queries * keys >= 1 << 13;
}

/**
 * Whether scores in memory are exponentiated inside the product with the values, rather than stored as probabilities.
 * The texture backend does that again for every 16 channels of a head. On llvmpipe with two cores, milliseconds fused and
 * stored: 105 and 120 for 1,024 queries and keys of 16 heads of 80; 17.9 and 17.4 for one of 128; 455 and 380 for 4,096
 * of one of 512; 0.40 and 0.35 for 16 queries and 32 keys of 8 heads of 64.
 */
export function softmaxFuses(on: Optimizations, { backend, width, queries, keys }: AttentionShape): boolean {
  if (!on.softmax || on.shapes !== "measured") return on.softmax;
  return queries * keys >= 1 << 16 && !(backend === "texture" && width > 96);
}

/** The kernels of an attention that sees all keys, those that the rules choose first. */
export function attentionKernels(
  on: Optimizations,
  shape: AttentionShape,
): readonly ("flash" | "partially fused softmax" | "stored softmax")[] {
  const flash = on.flash ? ["flash"] as const : [];
  const scored = on.softmax ? ["partially fused softmax", "stored softmax"] as const : ["stored softmax"] as const;
  const ordered = softmaxFuses(on, shape) ? scored : scored.toReversed();
  return flashRuns(on, shape) ? [...flash, ...ordered] : [...ordered, ...flash];
}
