/**
 * Second-order methods on sigmas: two evaluations a step, but one for the last. Karras et al., "Elucidating the design
 * space of diffusion-based generative models", arXiv 2206.00364, algorithm 1.
 * @module
 */
import { type Combination, combine } from "./combination.ts";
import { predict } from "./prediction.ts";
import { type Problem, type Sampler, varianceExploding } from "./sampler.ts";
import { sigmaPoints, sigmaTable, timestepOf } from "./spacing.ts";

/** Heun's: the slope is the mean of those at both ends of the step. */
export function heun(problem: Problem): Sampler {
  const { timesteps, sigmas } = sigmaPoints(problem);
  return twoStage(problem, {
    timesteps,
    sigmas,
    between: sigmas.slice(1),
    timestepsBetween: timesteps.slice(1),
    slope: (first, second) => combine([1 / 2, first], [1 / 2, second]),
  });
}

/** DPM-Solver-2 of k-diffusion: the slope is that at the geometric mean of the two sigmas. */
export function dpm2(problem: Problem): Sampler {
  const { timesteps, sigmas } = sigmaPoints(problem);
  const table = sigmaTable(problem);
  const between = sigmas.slice(1).map((sigma, i) => Math.fround(Math.sqrt(sigma * sigmas[i]!)));
  return twoStage(problem, {
    timesteps,
    sigmas,
    between,
    timestepsBetween: between.slice(0, -1).map((sigma) => Math.fround(timestepOf(sigma, table))),
    slope: (_, second) => second,
  });
}

/** What one method of two evaluations does differently from another. */
interface Stages {
  readonly timesteps: readonly number[];
  readonly sigmas: readonly number[];
  /** The sigma of each step's second evaluation; the last step has none. */
  readonly between: readonly number[];
  readonly timestepsBetween: readonly number[];
  /** The slope of the whole step from those of the two evaluations. */
  readonly slope: (first: Combination, second: Combination) => Combination;
}

function twoStage(problem: Problem, stages: Stages): Sampler {
  const { timesteps, sigmas, between } = stages;
  const isFirst = (index: number) => index % 2 === 0;
  const scaling = varianceExploding(problem, (index) => (isFirst(index) ? sigmas : between)[Math.floor(index / 2)]!);
  return {
    ...scaling,
    timesteps: timesteps.flatMap((timestep, i) => [timestep, ...stages.timestepsBetween.slice(i, i + 1)]),
    order: 2,
    history: 2,
    usesNoise: () => false,
    step({ index, sample, history, output }) {
      const step = Math.floor(index / 2);
      const { epsilon } = predict(problem.settings, scaling.levelAt(index), { sample, output });
      if (isFirst(index)) {
        return [combine([1, sample], [between[step]! - sigmas[step]!, epsilon]), sample, epsilon];
      }
      const [start, first] = history as [Combination, Combination];
      return [combine([1, start], [sigmas[step + 1]! - sigmas[step]!, stages.slope(first, epsilon)]), start, first];
    },
  };
}
