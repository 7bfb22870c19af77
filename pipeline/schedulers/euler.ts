/**
 * Euler's method on sigmas: Karras et al., "Elucidating the design space of diffusion-based generative models",
 * arXiv 2206.00364, and its ancestral variant of k-diffusion.
 * @module
 */
import { combine } from "./combination.ts";
import { predict } from "./prediction.ts";
import { type Problem, type Sampler, varianceExploding } from "./sampler.ts";
import { sigmaPoints } from "./spacing.ts";

/** Algorithm 1 without its correction: the slope of the sample over sigma is the noise in it. */
export function euler(problem: Problem): Sampler {
  const { timesteps, sigmas } = sigmaPoints(problem);
  const scaling = varianceExploding(problem, (index) => sigmas[index]!);
  return {
    ...scaling,
    timesteps,
    order: 1,
    history: 0,
    usesNoise: () => false,
    step({ index, sample, output }) {
      const { epsilon } = predict(problem.settings, scaling.levelAt(index), { sample, output });
      return [combine([1, sample], [sigmas[index + 1]! - sigmas[index]!, epsilon])];
    },
  };
}

/** Steps further down than Euler's and back up by fresh noise. */
export function eulerAncestral(problem: Problem): Sampler {
  const sampler = euler(problem);
  return {
    ...sampler,
    usesNoise: () => true,
    step({ index, sample, output, noise }) {
      const now = sampler.levelAt(index);
      const [from, to] = [now.noise, index + 1 < sampler.timesteps.length ? sampler.levelAt(index + 1).noise : 0];
      const up = to / from * Math.sqrt(from ** 2 - to ** 2);
      const down = to ** 2 / from;
      const { epsilon } = predict(problem.settings, now, { sample, output });
      return [combine([1, sample], [down - from, epsilon], [up, noise])];
    },
  };
}
