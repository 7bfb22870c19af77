/**
 * The denoising loop: which steps are submitted when, and when they are waited for.
 * @module
 */
import type { Gpu } from "../kernels/gpu.ts";
import type { Denoiser } from "./denoiser.ts";
import type { NoiseSource } from "./random/mod.ts";
import type { GenerateEvent } from "./request.ts";
import type { Schedule } from "./schedulers/schedule.ts";

/** An event of the loop, with the latent `[channels, height, width]` where one was asked for. */
export type StepEvent = Extract<GenerateEvent, { type: "step" }> & { readonly latent?: Float32Array };

/** What {@link runSteps} runs. */
export interface Loop {
  readonly gpu: Gpu;
  /** At the sampler's start. */
  readonly denoiser: Denoiser;
  readonly schedule: Schedule;
  /** Where fresh noise comes from. */
  readonly noise: NoiseSource;
  /** Steps from one latent to the next, which are shown behind the last step, too; 0 shows none. */
  readonly latentEvery: number;
}

/**
 * Milliseconds of steps that are submitted before they are waited for: while Deno wakes up from a wait and the next step
 * is encoded, the GPU stands still (4 ms of 42 on an H100), and nobody needs to see more than five steps a second.
 */
const UNSEEN_MILLISECONDS = 200;

/**
 * Runs all steps of a schedule; an event for each, several at once where steps are short.
 *
 * @throws {GpuFailedError | GpuMemoryError} when the GPU fails.
 */
export async function* runSteps({ gpu, denoiser, schedule, noise, latentEvery }: Loop): AsyncGenerator<StepEvent> {
  const steps = schedule.steps.length;
  let [submitted, previous] = [0, performance.now()];
  /** Submits steps of about {@link UNSEEN_MILLISECONDS}, up to the next latent; returns how many. */
  const submit = (milliseconds: number): number => {
    const untilLatent = latentEvery > 0 ? latentEvery - submitted % latentEvery : steps;
    const some = Math.max(1, Math.floor(UNSEEN_MILLISECONDS / milliseconds));
    const next = schedule.steps.slice(submitted, submitted + Math.min(some, untilLatent));
    for (const { usesNoise } of next) denoiser.step(usesNoise ? noise.normal(denoiser.elements) : undefined);
    submitted += next.length;
    return next.length;
  };
  for (let running = submit(Infinity), done = 0; running > 0;) {
    // Deno waits for the GPU inside the call and sleeps 10 ms inside the await: the next steps are submitted between.
    const finished = gpu.finish();
    const now = performance.now();
    const milliseconds = (now - previous) / running;
    const shown = latentEvery > 0 && (submitted % latentEvery === 0 || submitted === steps);
    let next = shown ? 0 : submit(milliseconds);
    await finished;
    const latent = shown ? await denoiser.sample() : undefined;
    for (let step = done + 1; step <= done + running; step++) {
      yield { type: "step", step, steps, milliseconds, ...(latent && step === done + running && { latent }) };
    }
    done += running;
    previous = now;
    if (shown) next = submit(milliseconds);
    running = next;
  }
}
