/**
 * DDIM: Song, Meng and Ermon, "Denoising diffusion implicit models", arXiv 2010.02502.
 * @module
 */
import { combine } from "./combination.ts";
import { levelAt, levelOfShare } from "./noise_schedule.ts";
import { predict } from "./prediction.ts";
import { type Problem, type Sampler, variancePreserving } from "./sampler.ts";
import { wholeTimesteps } from "./spacing.ts";

/** Equation 12; `eta` 0 is deterministic, `eta` 1 is as noisy as DDPM (equation 16). */
export function ddim(problem: Problem): Sampler {
  const { settings, shares, steps, eta } = problem;
  const timesteps = wholeTimesteps(problem);
  const stride = Math.floor(settings.num_train_timesteps / steps);
  const level = (index: number) => levelAt(shares, timesteps[index]!);
  return {
    ...variancePreserving(level),
    timesteps,
    order: 1,
    history: 0,
    usesNoise: () => eta > 0,
    step({ index, sample, output, noise }) {
      const now = level(index);
      const next = levelBelow(problem, timesteps[index]! - stride);
      const { image, epsilon } = predict(settings, now, { sample, output });
      const ratio = now.signal / next.signal;
      const sigma = eta * next.noise / now.noise * Math.sqrt(1 - ratio * ratio);
      const direction = Math.sqrt(Math.max(next.noise ** 2 - sigma ** 2, 0));
      return [combine([next.signal, image], [direction, epsilon], [sigma, noise])];
    },
  };
}

/** The noise level of `timestep`; below 0, what the settings take for the image's own. */
export function levelBelow({ settings, shares }: Problem, timestep: number): ReturnType<typeof levelAt> {
  if (timestep >= 0) return levelAt(shares, timestep);
  return settings.set_alpha_to_one ? levelOfShare(1) : levelAt(shares, 0);
}
