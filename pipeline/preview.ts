/**
 * What a picture will look like, from the latent of an unfinished run and without the VAE.
 * @module
 */
import { toImage } from "./image.ts";
import type { Image } from "./request.ts";
import type { ScheduleStep } from "./schedulers/schedule.ts";

/** The sampler's state around a step. */
export interface StepStates {
  /** Slots before it, the sample first. */
  readonly before: readonly Float32Array[];
  readonly after: Float32Array;
  /** The noise that it drew, if any. */
  readonly noise?: Float32Array | undefined;
}

/**
 * The clean latent that the UNet saw in a step. The UNet's output stays on the GPU, but the step is linear in it, so it
 * follows from the sample before and after.
 */
export function estimateImage({ transition, image }: ScheduleStep, { before, after, noise }: StepStates): Float32Array {
  const row = transition[0]!;
  const [output, fresh] = [before.length, before.length + 1];
  const share = image[output]! / row[output]!;
  return after.map((value, i) =>
    before.reduce(
      (sum, slot, k) => sum + (image[k]! - share * row[k]!) * slot[i]!,
      share * (value - (noise ? row[fresh]! * noise[i]! : 0)),
    )
  );
}

/** The picture of `latent [channels, height, width]`, one pixel for each of its pixels. */
export function drawLatent(
  latent: Float32Array,
  { width, height, rgb }: {
    readonly width: number;
    readonly height: number;
    readonly rgb: readonly (readonly number[])[];
  },
): Image {
  const count = width * height;
  const channels = rgb.length - 1;
  const values = Float32Array.from({ length: 3 * count }, (_, i) => {
    const [colour, pixel] = [Math.floor(i / count), i % count];
    let sum = rgb[channels]![colour]!;
    for (let channel = 0; channel < channels; channel++) {
      sum += rgb[channel]![colour]! * latent[channel * count + pixel]!;
    }
    return sum;
  });
  return toImage(values, { width, height, what: "The preview" });
}
