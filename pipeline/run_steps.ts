/**
 * The denoising loop: which steps are submitted when, when they are waited for, and what is looked at between.
 * @module
 */
import type { Gpu } from "../kernels/gpu.ts";
import type { Denoiser } from "./denoiser.ts";
import { drawLatent, estimateImage } from "./preview.ts";
import type { NoiseSource } from "./random/mod.ts";
import type { StepEvent } from "./request.ts";
import type { Schedule } from "./schedulers/schedule.ts";

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
  /** The same of previews. */
  readonly previewEvery: number;
  /** Colours of previews, see {@link drawLatent}. */
  readonly rgb: readonly (readonly number[])[];
}

/**
 * Milliseconds of steps that are submitted before they are waited for: while Deno wakes up from a wait and the next step
 * is encoded, the GPU stands still (4 ms of 42 on an H100), and nobody needs to see more than five steps a second.
 */
const UNSEEN_MILLISECONDS = 200;

/**
 * Runs all steps of a schedule; an event for each, several at once where steps are short, with the latent
 * `[channels, height, width]` and the preview where they were asked for.
 *
 * @throws {GpuFailedError | GpuMemoryError} when the GPU fails.
 */
export async function* runSteps(loop: Loop): AsyncGenerator<StepEvent & { readonly latent?: Float32Array }> {
  const { gpu, denoiser, schedule, noise, latentEvery, previewEvery, rgb } = loop;
  const steps = schedule.steps.length;
  const isDue = (done: number, every: number) => every > 0 && done > 0 && (done % every === 0 || done === steps);
  // A preview is made of the states before and after its step.
  const isRead = (done: number) =>
    isDue(done, latentEvery) || isDue(done, previewEvery) || isDue(done + 1, previewEvery);
  let submitted = 0;
  /** What the step that was submitted last draws. */
  let fresh: Float32Array | undefined;
  /** Submits steps of about {@link UNSEEN_MILLISECONDS}, up to where the state is read; returns how many. */
  const submit = (milliseconds: number): number => {
    const first = submitted;
    const end = Math.min(steps, first + Math.max(1, Math.floor(UNSEEN_MILLISECONDS / milliseconds)));
    while (submitted < end && (submitted === first || !isRead(submitted))) {
      fresh = schedule.steps[submitted++]!.usesNoise ? noise.normal(denoiser.elements) : undefined;
      denoiser.step(fresh);
    }
    return submitted - first;
  };
  const preview = (before: readonly Float32Array[], after: Float32Array) => {
    const latent = estimateImage(schedule.steps[submitted - 1]!, { before, after, noise: fresh });
    return drawLatent(latent, { ...denoiser.shape, rgb });
  };

  let state = isRead(0) ? await denoiser.state() : [];
  let previous = performance.now();
  for (let running = submit(Infinity), done = 0; running > 0;) {
    // Deno waits for the GPU inside the call and sleeps 10 ms inside the await: the next steps are submitted between.
    const finished = gpu.finish();
    const now = performance.now();
    const milliseconds = (now - previous) / running;
    const shown = isRead(submitted);
    let next = shown ? 0 : submit(milliseconds);
    await finished;
    done += running;
    const before = state;
    if (shown) state = await denoiser.state();
    const last = {
      ...(isDue(done, latentEvery) && { latent: state[0]! }),
      ...(isDue(done, previewEvery) && { preview: preview(before, state[0]!) }),
    };
    for (let step = done - running + 1; step <= done; step++) {
      yield { type: "step", step, steps, milliseconds, ...(step === done && last) };
    }
    previous = now;
    if (shown) next = submit(milliseconds);
    running = next;
  }
}
