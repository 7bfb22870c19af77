/**
 * Where a run starts: at noise, or at a picture with noise (SDEdit, arXiv 2108.01073), as diffusers' text-to-image,
 * image-to-image and inpainting pipelines compute it.
 * @module
 */
import { toMask } from "./image.ts";
import type { Start } from "./loop.ts";
import type { VaeConfig } from "./nets/config.ts";
import type { NoiseSource } from "./random/mod.ts";
import type { Image, InitImage, Request } from "./request.ts";
import { resize } from "./resize.ts";
import { skippedSteps } from "./schedulers/mod.ts";
import type { Schedule } from "./schedulers/schedule.ts";

/** Means, then log variances of latents, `[2 x channels, height, width]`; or the latents themselves, of a tiny VAE. */
export interface Moments {
  /** Of the init image, if the run starts from it. */
  readonly image?: Float32Array;
  /** Of what the mask keeps of it, for a net that reads that. */
  readonly kept?: Float32Array;
}

export interface StartOptions {
  readonly schedule: Schedule;
  /** Where the noise is drawn from, in diffusers' order. */
  readonly noise: NoiseSource;
  readonly vae: Pick<VaeConfig, "latentChannels" | "encodedChannels" | "factor" | "scalingFactor">;
  readonly moments: Moments;
  /** A latent to start from, where there is no init image. */
  readonly begun?: Float32Array | undefined;
}

/** Steps that a request leaves out at the beginning; all of them where its strength is too small for one. */
export function stepsLeftOut(
  { steps, init }: Pick<Request, "steps"> & { readonly init?: Pick<InitImage, "strength"> | undefined },
): number {
  return init ? skippedSteps(steps, init.strength) : 0;
}

export function fit(image: Image, { width, height }: Pick<Request, "width" | "height">): Image {
  return image.width === width && image.height === height ? image : resize(image, width, height);
}

/**
 * The sample that a request starts from. With a mask also what a net that does not know of it keeps of the picture, or
 * what one that does reads: the mask, then the latent of what is kept.
 */
export function startOf(
  request: Request,
  { schedule, noise, vae, moments, begun }: StartOptions,
): Pick<Start, "sample" | "original"> & { readonly kept?: Float32Array } {
  const { init, width, height } = request;
  const elements = vae.latentChannels * (height / vae.factor) * (width / vae.factor);
  const draws = vae.encodedChannels > vae.latentChannels;
  const scaled = (moments: Float32Array) =>
    (draws ? samplePosterior(moments, noise.normal(elements)) : moments).map((value) => value * vae.scalingFactor);
  const latent = begun ?? (moments.image && scaled(moments.image));
  const added = noise.normal(elements);
  const sample = latent && !(init?.mask && init.strength === 1)
    ? withNoise(latent, added, schedule)
    : added.map((value) => value * schedule.initNoiseSigma);
  if (!init?.mask) return { sample };
  const mask = toMask(fit(init.mask, request), vae.factor);
  if (moments.kept) {
    const kept = new Float32Array(mask.length + elements);
    kept.set(mask);
    kept.set(scaled(moments.kept), mask.length);
    return { sample, kept };
  }
  // diffusers encodes what the mask keeps, too, which only other UNets read; its draw moves the generator on.
  if (draws) noise.normal(elements);
  return { sample, original: { mask: latent!.map((_, i) => mask[i % mask.length]!), sample: latent!, noise: added } };
}

function withNoise(latent: Float32Array, added: Float32Array, { noiseLevels }: Schedule): Float32Array {
  const { signal, noise } = noiseLevels[0]!;
  return latent.map((value, i) => signal * value + noise * added[i]!);
}

/** A draw from the normal distributions that the encoder gives; log variances are clamped as in diffusers. */
function samplePosterior(moments: Float32Array, normal: Float32Array): Float32Array {
  return normal.map((value, i) => {
    const logVariance = Math.min(20, Math.max(-30, moments[normal.length + i]!));
    return moments[i]! + Math.exp(logVariance / 2) * value;
  });
}
