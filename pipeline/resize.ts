/**
 * Pictures of another size, as Pillow resizes them, whose filter diffusers takes; and latents, as PyTorch does.
 * @module
 */
import type { Image } from "./request.ts";

/** Zero crossings of the filter on either side. */
const LOBES = 3;

/** Weights are whole multiples of 2^-22, and each of the two passes rounds to 8 bits: as in Pillow, so that both agree. */
const ONE = 2 ** 22;

/** The input pixels that one output pixel is made of. */
interface Taps {
  readonly first: number;
  /** One weight for each, {@link ONE} in all. */
  readonly weights: readonly number[];
}

/** How a pass walks through memory, in bytes. */
interface Walk {
  /** Lines that are filtered, each on its own. */
  readonly lines: number;
  /** From one line to the next, in the input and in the output. */
  readonly line: readonly [from: number, to: number];
  /** From one pixel of a line to the next. */
  readonly pixel: number;
}

/** `image` as `width` x `height`, by Lanczos filtering with three lobes, widened where the picture shrinks. */
export function resize(image: Image, width: number, height: number): Image {
  const across = width * 3;
  const rows = filter(image.pixels, lineTaps(image.width, width), {
    lines: image.height,
    line: [image.width * 3, across],
    pixel: 3,
  });
  const pixels = filter(rows, lineTaps(image.height, height), { lines: width, line: [3, 3], pixel: across });
  return { width, height, pixels };
}

/** One pass, along rows or columns: `taps[i]` makes pixel `i` of each line. */
function filter(from: Uint8Array, taps: readonly Taps[], { lines, line, pixel }: Walk): Uint8Array {
  const to = new Uint8ClampedArray(lines * taps.length * 3);
  taps.forEach(({ first, weights }, i) => {
    for (let n = 0; n < lines; n++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        let at = n * line[0] + first * pixel + channel;
        for (const weight of weights) {
          sum += weight * from[at]!;
          at += pixel;
        }
        to[n * line[1] + i * pixel + channel] = Math.floor(sum / ONE + 0.5);
      }
    }
  });
  return new Uint8Array(to.buffer);
}

/** The filter's weights of each of `output` pixels along a line of `input`. */
function lineTaps(input: number, output: number): readonly Taps[] {
  const scale = input / output;
  // A picture that grows is interpolated, one that shrinks is averaged.
  const stretch = Math.max(scale, 1);
  const reach = LOBES * stretch;
  return Array.from({ length: output }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(input, Math.trunc(centre + reach + 0.5));
    const values = Array.from({ length: end - first }, (_, tap) => lanczos((first + tap - centre + 0.5) / stretch));
    const sum = values.reduce((total, value) => total + value, 0);
    return { first, weights: values.map((value) => roundAwayFromZero(value / sum * ONE)) };
  });
}

/** sinc(x) sinc(x / 3) within three lobes. */
function lanczos(x: number): number {
  return Math.abs(x) < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function roundAwayFromZero(value: number): number {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
}

type Size = Pick<Image, "width" | "height">;

/**
 * Values `[channels, height, width]` as `[channels, to.height, to.width]`, bilinearly, as PyTorch's `interpolate` does it:
 * what AUTOMATIC1111 does to latents.
 */
export function resizeLatent(values: Float32Array, from: Size, to: Size): Float32Array {
  const [rows, columns] = [neighbours(from.height, to.height), neighbours(from.width, to.width)];
  const channels = values.length / (from.height * from.width);
  const resized = new Float32Array(channels * to.height * to.width);
  let at = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (const [above, below, down] of rows) {
      const [first, second] = [above, below].map((row) => (channel * from.height + row) * from.width);
      for (const [left, right, across] of columns) {
        const upper = values[first! + left]! * (1 - across) + values[first! + right]! * across;
        const lower = values[second! + left]! * (1 - across) + values[second! + right]! * across;
        resized[at++] = upper * (1 - down) + lower * down;
      }
    }
  }
  return resized;
}

/** The two values along a line that each of another number lies between, and how close it is to the second. */
function neighbours(input: number, output: number): readonly (readonly [number, number, number])[] {
  return Array.from({ length: output }, (_, i) => {
    const place = Math.max(0, (i + 0.5) * input / output - 0.5);
    const first = Math.floor(place);
    return [first, Math.min(first + 1, input - 1), place - first];
  });
}
