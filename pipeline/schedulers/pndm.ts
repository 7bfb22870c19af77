/**
 * PNDM without Runge-Kutta steps, "PLMS": Liu, Ren, Lin and Zhao, "Pseudo numerical methods for diffusion models on
 * manifolds", arXiv 2202.09778.
 * @module
 */
import { type Combination, combine } from "./combination.ts";
import { levelBelow } from "./ddim.ts";
import { levelAt } from "./noise_schedule.ts";
import { predict } from "./prediction.ts";
import { type Problem, type Sampler, variancePreserving } from "./sampler.ts";
import { wholeTimesteps } from "./spacing.ts";

/** Adams-Bashforth weights, newest first: equation 12 and its lower orders. */
const weights: readonly (readonly number[])[] = [
  [1],
  [3, -1].map((weight) => weight / 2),
  [23, -16, 5].map((weight) => weight / 12),
  [55, -59, 37, -9].map((weight) => weight / 24),
];

/**
 * The second timestep comes twice: the first step is repeated with the mean of the outputs at its two ends. Until then
 * the last slot of history keeps the sample that the step started from.
 */
export function pndm(problem: Problem): Sampler {
  const { settings, shares, steps } = problem;
  const spaced = wholeTimesteps(problem);
  const timesteps = [...spaced.slice(0, 2), ...spaced.slice(1)];
  const stride = Math.floor(settings.num_train_timesteps / steps);

  /** Equation 11: DDIM's step with a blend of outputs. */
  function transfer(timestep: number, sample: Combination, output: Combination): Combination {
    const { image, epsilon } = predict(settings, levelAt(shares, timestep), { sample, output });
    const next = levelBelow(problem, timestep - stride);
    return combine([next.signal, image], [next.noise, epsilon]);
  }

  return {
    ...variancePreserving((index) => levelAt(shares, timesteps[index]!)),
    timesteps,
    order: 1,
    history: 3,
    usesNoise: () => false,
    step({ index, done, sample, history, output }) {
      const timestep = timesteps[index]!;
      const [newest, middle, oldest] = history as [Combination, Combination, Combination];
      if (done === 0) return [transfer(timestep, sample, output), output, middle, sample];
      if (done === 1) {
        const mean = combine([1 / 2, newest], [1 / 2, output]);
        return [transfer(timestep + stride, oldest, mean), newest, middle, oldest];
      }
      const outputs = [output, newest, middle, oldest];
      const blend = combine(...weights[Math.min(done, 4) - 1]!.map((weight, i) => [weight, outputs[i]!] as const));
      return [transfer(timestep, sample, blend), output, newest, middle];
    },
  };
}
