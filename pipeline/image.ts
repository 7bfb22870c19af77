/**
 * Between the VAE's values and 8-bit pictures.
 * @module
 */
import { GpuFailedError } from "../kernels/errors.ts";
import type { Image } from "./request.ts";

/**
 * An 8-bit picture of `values [3, height, width]`, -1 to 1, rounded half to even as NumPy rounds diffusers' pictures.
 *
 * @throws {GpuFailedError} when a value is not a number: a broken picture must not look like a black one.
 */
export function toImage(values: Float32Array, width: number, height: number): Image {
  const count = width * height;
  const pixels = new Uint8Array(3 * count);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < count; i++) {
      const value = values[channel * count + i]!;
      if (Number.isNaN(value)) throw new GpuFailedError("The VAE's picture holds values that are not numbers");
      pixels[i * 3 + channel] = roundHalfToEven(Math.min(1, Math.max(0, value / 2 + 0.5)) * 255);
    }
  }
  return { width, height, pixels };
}

function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}
