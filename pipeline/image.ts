/**
 * Between the model's values and 8-bit pictures.
 * @module
 */
import { GpuFailedError } from "../kernels/errors.ts";
import type { Image } from "./request.ts";

/** A picture's size, and what it is called when it is broken. */
interface ImageOf extends Pick<Image, "width" | "height"> {
  readonly what: "The VAE's picture" | "The preview" | "The enlarged picture";
}

/**
 * An 8-bit picture of `values [3, height, width]`, -1 to 1, rounded half to even as NumPy rounds diffusers' pictures.
 *
 * @throws {GpuFailedError} when a value is not finite: a broken picture must not look like a black or a white one.
 */
export function toImage(values: Float32Array, { width, height, what }: ImageOf): Image {
  const count = width * height;
  const pixels = new Uint8Array(3 * count);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < count; i++) {
      const value = values[channel * count + i]!;
      if (!Number.isFinite(value)) throw new GpuFailedError(`${what} holds values that are not numbers`);
      pixels[i * 3 + channel] = roundHalfToEven(Math.min(1, Math.max(0, value / 2 + 0.5)) * 255);
    }
  }
  return { width, height, pixels };
}

/** Values `[3, height, width]`, -1 to 1, of an 8-bit picture: what the VAE's encoder takes. */
export function fromImage({ width, height, pixels }: Image): Float32Array {
  const count = width * height;
  return Float32Array.from({ length: 3 * count }, (_, i) => pixels[i % count * 3 + Math.floor(i / count)]! / 127.5 - 1);
}

/**
 * A mask of latents, `[height / factor, width / factor]`: 1 where the picture is at least half white, else 0. As in
 * diffusers, the first pixel of each `factor` x `factor` decides. Colours weigh what they weigh in Pillow's grey.
 */
export function toMask({ width, height, pixels }: Image, factor: number): Float32Array {
  const columns = width / factor;
  return Float32Array.from({ length: columns * height / factor }, (_, i) => {
    const at = (Math.floor(i / columns) * width + i % columns) * factor * 3;
    const [red, green, blue] = pixels.subarray(at, at + 3) as unknown as [number, number, number];
    return 19595 * red + 38470 * green + 7471 * blue >= 127.5 * 2 ** 16 ? 1 : 0;
  });
}

function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}
