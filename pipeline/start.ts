/**
 * Where a run starts: at noise, or at a picture with noise (SDEdit, arXiv 2108.01073), as diffusers' text-to-image,
 * image-to-image and inpainting pipelines compute it.
 * @module
 */
import type { VaeConfig } from "./config.ts";
import type { Start } from "./denoiser.ts";
import { toMask } from "./image.ts";
import type { NoiseSource } from "./random/mod.ts";
import type { Image, InitImage, Request } from "./request.ts";
import { resize } from "./resize.ts";
import { skippedSteps } from "./schedulers/mod.ts";
import type { Schedule } from "./schedulers/schedule.ts";

/** What a start is made of, beside the request. */
export interface StartOptions {
  /** Of the request's steps. */
  readonly schedule: Schedule;
  /** Where the noise is drawn from, in diffusers' order. */
  readonly noise: NoiseSource;
  /** Of the model. */
  readonly vae: Pick<VaeConfig, "latentChannels" | "factor" | "scalingFactor">;
  /** Means, then log variances of the init image's latent `[2 x channels, height, width]`, if there is one. */
  readonly moments: Float32Array | undefined;
}

/** Steps that a request leaves out at the beginning; all of them where its strength is too small for one. */
export function stepsLeftOut({ steps, init }: Pick<Request, "steps" | "init">): number {
  return init ? skippedSteps(steps, init.strength) : 0;
}

/** `image` in the request's size. */
export function fit(image: Image, { width, height }: Pick<Request, "width" | "height">): Image {
  return image.width === width && image.height === height ? image : resize(image, width, height);
}

/** The sample that a request starts from, and with a mask what it keeps of the picture. */
export function startOf(request: Request, options: StartOptions): Pick<Start, "sample" | "original"> {
  const { schedule, noise, vae, moments } = options;
  const { init, width, height } = request;
  if (init && moments) return startAtImage(request, init, { ...options, moments });
  const elements = vae.latentChannels * (height / vae.factor) * (width / vae.factor);
  return { sample: pureNoise(schedule, noise.normal(elements)) };
}

function startAtImage(
  request: Request,
  { mask, strength }: InitImage,
  { schedule, noise, vae, moments }: StartOptions & { moments: Float32Array },
): Pick<Start, "sample" | "original"> {
  const elements = moments.length / 2;
  const latent = samplePosterior(moments, noise.normal(elements)).map((value) => value * vae.scalingFactor);
  const added = noise.normal(elements);
  const { signal, noise: amount } = schedule.noiseLevels[0]!;
  const noised = latent.map((value, i) => signal * value + amount * added[i]!);
  if (!mask) return { sample: noised };
  // diffusers encodes the masked picture, too, which only other UNets read; its draw moves the generator on.
  noise.normal(elements);
  const painted = toMask(fit(mask, request), vae.factor);
  const original = {
    mask: latent.map((_, i) => painted[i % painted.length]!),
    sample: latent,
    noise: added,
  };
  return { sample: strength === 1 ? pureNoise(schedule, added) : noised, original };
}

function pureNoise(schedule: Schedule, normal: Float32Array): Float32Array {
  return normal.map((value) => value * schedule.initNoiseSigma);
}

/** A draw from the normal distributions that the encoder gives; log variances are clamped as in diffusers. */
function samplePosterior(moments: Float32Array, normal: Float32Array): Float32Array {
  return normal.map((value, i) => {
    const logVariance = Math.min(20, Math.max(-30, moments[normal.length + i]!));
    return moments[i]! + Math.exp(logVariance / 2) * value;
  });
}
