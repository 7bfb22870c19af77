/**
 * Edges of a picture as OpenCV's `Canny` finds them, which ControlNets were trained with: its 3x3 Sobel filter, absolute
 * values added, no smoothing before.
 * @module
 */
import type { Image, Thresholds } from "./request.ts";

/** What becomes of a pixel. */
const MARKS = { weak: 1, edge: 2 } as const;

/** The tangent of 22.5 degrees in OpenCV's fixed point. */
const TANGENT = 13573;
const ONE = 2 ** 15;

/** The edges of `image` in white on black: those above the higher threshold, and those above the lower that lead on from them. */
export function edges(image: Image, thresholds: Thresholds): Image {
  const { width, height } = image;
  const [low, high] = thresholds.map(Math.floor).sort((a, b) => a - b) as [number, number];
  const gradients = gradientsOf(image);
  const { sizes, pitch } = gradients;
  const marks = new Uint8Array(sizes.length);
  const found: number[] = [];
  sizes.forEach((size, at) => {
    if (size <= low || !isPeak(gradients, at)) return;
    marks[at] = size > high ? MARKS.edge : MARKS.weak;
    if (size > high) found.push(at);
  });
  const neighbours = [-pitch - 1, -pitch, -pitch + 1, -1, 1, pitch - 1, pitch, pitch + 1];
  for (let at = found.pop(); at !== undefined; at = found.pop()) {
    for (const way of neighbours) {
      if (marks[at + way] !== MARKS.weak) continue;
      marks[at + way] = MARKS.edge;
      found.push(at + way);
    }
  }
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    const at = (Math.floor(i / width) + 1) * pitch + i % width + 1;
    if (marks[at] === MARKS.edge) pixels.fill(255, 3 * i, 3 * i + 3);
  }
  return { width, height, pixels };
}

/** Of each pixel the gradient of the channel that has the largest one, in a frame of zeros: its size and its two parts. */
interface Gradients {
  readonly sizes: Int16Array;
  readonly across: Int16Array;
  readonly down: Int16Array;
  /** From one row to the next. */
  readonly pitch: number;
}

/** Sobel's filter; beyond the picture its last pixels go on. */
function gradientsOf({ width, height, pixels }: Image): Gradients {
  const pitch = width + 2;
  const [sizes, across, down] = Array.from({ length: 3 }, () => new Int16Array(pitch * (height + 2))) as [
    Int16Array,
    Int16Array,
    Int16Array,
  ];
  for (let y = 0; y < height; y++) {
    const [above, here, below] = [Math.max(y - 1, 0), y, Math.min(y + 1, height - 1)].map((row) => 3 * width * row) as [
      number,
      number,
      number,
    ];
    for (let x = 0; x < width; x++) {
      const at = (y + 1) * pitch + x + 1;
      const [left, right] = [3 * Math.max(x - 1, 0), 3 * Math.min(x + 1, width - 1)];
      for (let c = 0; c < 3; c++) {
        const diagonal = pixels[below + right + c]! - pixels[above + left + c]!;
        const other = pixels[below + left + c]! - pixels[above + right + c]!;
        const dx = diagonal - other + 2 * (pixels[here + right + c]! - pixels[here + left + c]!);
        const dy = diagonal + other + 2 * (pixels[below + 3 * x + c]! - pixels[above + 3 * x + c]!);
        const size = Math.abs(dx) + Math.abs(dy);
        if (size <= sizes[at]!) continue;
        sizes[at] = size;
        across[at] = dx;
        down[at] = dy;
      }
    }
  }
  return { sizes, across, down, pitch };
}

/** Whether no neighbour across the edge has a larger gradient. */
function isPeak({ sizes, across, down, pitch }: Gradients, at: number): boolean {
  const [size, dx, dy] = [sizes[at]!, across[at]!, down[at]!];
  const [x, y] = [Math.abs(dx), Math.abs(dy) * ONE];
  if (y < x * TANGENT) return size > sizes[at - 1]! && size >= sizes[at + 1]!;
  if (y > x * (TANGENT + 2 * ONE)) return size > sizes[at - pitch]! && size >= sizes[at + pitch]!;
  const lean = dx < 0 === dy < 0 ? 1 : -1;
  return size > sizes[at - pitch - lean]! && size > sizes[at + pitch + lean]!;
}
