import { assertEquals } from "@std/assert";
import type { NoiseSource } from "../../pipeline/random/mod.ts";
import type { Image, InitImage, Request } from "../../pipeline/request.ts";
import { scheduleFor } from "../../pipeline/schedulers/mod.ts";
import { startOf, stepsLeftOut } from "../../pipeline/start.ts";

const TRAINING = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", num_train_timesteps: 1000 };
const VAE = { latentChannels: 2, encodedChannels: 4, factor: 8, scalingFactor: 0.5 };
const ELEMENTS = 2 * 2 * 3;

/** Means 0, 1, 2, ... and the standard deviation 3. */
const MOMENTS = Float32Array.from({ length: 2 * ELEMENTS }, (_, i) => i < ELEMENTS ? i : 2 * Math.log(3));

/** Draws 1s, then 10s, then 100s, and counts. */
function powersOfTen(): NoiseSource & { draws: number } {
  const source = {
    draws: 0,
    normal: (elements: number) => new Float32Array(elements).fill(10 ** source.draws++),
  };
  return source;
}

function picture(width: number, height: number, level: (x: number) => number): Image {
  return { width, height, pixels: Uint8Array.from({ length: 3 * width * height }, (_, i) => level(i / 3 % width)) };
}

function start(scheduler: string, init?: InitImage, image?: Float32Array, kept?: Float32Array, vae = VAE) {
  const request: Request = {
    prompt: "",
    negativePrompt: "",
    seed: 0n,
    steps: 10,
    guidance: 1,
    width: 24,
    height: 16,
    rng: "cpu",
    ...(init && { init }),
  };
  const schedule = scheduleFor(TRAINING, { steps: 10, name: scheduler, start: stepsLeftOut(request) });
  const noise = powersOfTen();
  const moments = { ...(image && { image }), ...(kept && { kept }) };
  return { ...startOf(request, { schedule, noise, vae, moments }), schedule, draws: noise.draws };
}

/** The latent that the first draw makes of the moments, and with the second draw as noise. */
function noised({ signal, noise }: { signal: number; noise: number }): Float32Array {
  return Float32Array.from({ length: ELEMENTS }, (_, i) => signal * Math.fround((i + 3) / 2) + noise * 10);
}

const image = picture(24, 16, () => 0);

Deno.test("without an image a run starts from noise as strong as the scheduler wants it", () => {
  const { sample, original, schedule, draws } = start("euler");
  assertEquals([draws, original], [1, undefined]);
  assertEquals(sample, new Float32Array(ELEMENTS).fill(schedule.initNoiseSigma));
});

Deno.test("an image starts as noisy as the first step that is run expects it, at full strength, too", () => {
  for (const scheduler of ["ddim", "euler", "heun", "dpmpp-2m"]) {
    for (const strength of [0.3, 1]) {
      const { sample, original, schedule, draws } = start(scheduler, { image, strength }, MOMENTS);
      assertEquals([draws, original], [2, undefined]);
      assertEquals(sample, noised(schedule.noiseLevels[0]!));
    }
  }
});

Deno.test("a mask keeps the latent and its noise, and starts from nothing else at full strength", () => {
  // White on the right of a mask of half the size.
  const mask = picture(12, 8, (x) => x < 6 ? 0 : 255);
  const { sample, original, schedule, draws } = start("euler", { image, mask, strength: 0.5 }, MOMENTS);
  // diffusers draws for the masked picture's encoding, too.
  assertEquals(draws, 3);
  assertEquals(sample, noised(schedule.noiseLevels[0]!));
  assertEquals(original!.sample, noised({ signal: 1, noise: 0 }));
  assertEquals(original!.noise, new Float32Array(ELEMENTS).fill(10));
  const rows = [0, 0, 1, 0, 0, 1];
  assertEquals([...original!.mask], [...rows, ...rows]);

  const full = start("euler", { image, mask, strength: 1 }, MOMENTS);
  assertEquals(full.sample, new Float32Array(ELEMENTS).fill(Math.fround(10 * full.schedule.initNoiseSigma)));
});

Deno.test("a net that paints reads the mask and what it keeps; at full strength it starts from noise alone", () => {
  const mask = picture(12, 8, (x) => x < 6 ? 0 : 255);
  const { sample, kept, original, schedule, draws } = start("ddim", { image, mask, strength: 1 }, undefined, MOMENTS);
  assertEquals([draws, original], [2, undefined]);
  assertEquals(sample, new Float32Array(ELEMENTS).fill(schedule.initNoiseSigma));
  // The second draw is tens.
  const latent = Array.from(MOMENTS.subarray(0, ELEMENTS), (mean, i) => {
    return VAE.scalingFactor * (mean + 10 * Math.exp(MOMENTS[ELEMENTS + i]! / 2));
  });
  assertEquals([...kept!], [0, 0, 1, 0, 0, 1, ...latent.map(Math.fround)]);
  const some = start("ddim", { image, mask, strength: 0.5 }, MOMENTS, MOMENTS);
  assertEquals([some.draws, some.sample], [3, noised(some.schedule.noiseLevels[0]!)]);
});

Deno.test("a VAE without variances gives the latent itself, and nothing is drawn for it", () => {
  const vae = { ...VAE, encodedChannels: 2 };
  const latent = MOMENTS.subarray(0, ELEMENTS);
  const mask = picture(12, 8, (x) => x < 6 ? 0 : 255);
  const { sample, original, schedule, draws } = start("euler", { image, mask, strength: 0.5 }, latent, undefined, vae);
  assertEquals([draws, original!.sample], [1, latent.map((value) => value / 2)]);
  const { signal, noise } = schedule.noiseLevels[0]!;
  assertEquals(sample, latent.map((value) => signal * Math.fround(value / 2) + noise));
  const painted = start("ddim", { image, mask, strength: 1 }, undefined, latent, vae);
  assertEquals([painted.draws, [...painted.kept!.subarray(6)]], [1, [...latent].map((value) => value / 2)]);
});
