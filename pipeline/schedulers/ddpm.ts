/**
 * DDPM: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models", arXiv 2006.11239.
 * @module
 */
import { combine } from "./combination.ts";
import { levelAt, levelOfShare } from "./noise_schedule.ts";
import { predict } from "./prediction.ts";
import { type Problem, type Sampler, variancePreserving } from "./sampler.ts";
import { wholeTimesteps } from "./spacing.ts";

/** Equations 6 and 7, from each timestep to the next of the run. */
export function ddpm(problem: Problem): Sampler {
  const { settings, shares } = problem;
  const timesteps = wholeTimesteps(problem);
  const level = (index: number) => index < timesteps.length ? levelAt(shares, timesteps[index]!) : levelOfShare(1);
  const usesNoise = (index: number) => timesteps[index]! > 0;
  return {
    ...variancePreserving(level),
    timesteps,
    order: 1,
    history: 0,
    usesNoise,
    step({ index, sample, output, noise }) {
      const [now, next] = [level(index), level(index + 1)];
      const { image } = predict(settings, now, { sample, output });
      const kept = now.signal / next.signal;
      const beta = 1 - kept * kept;
      const posterior = Math.max(beta * (next.noise / now.noise) ** 2, 1e-20);
      const variance = settings.variance_type === "fixed_large" ? beta : posterior;
      return [combine(
        [next.signal * beta / now.noise ** 2, image],
        [kept * (next.noise / now.noise) ** 2, sample],
        [usesNoise(index) ? Math.sqrt(variance) : 0, noise],
      )];
    },
  };
}
