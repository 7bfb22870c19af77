/**
 * DPM-Solver++: Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models",
 * arXiv 2211.01095; DPM-Solver: arXiv 2206.00927. Lambda is log(signal / noise), minus the logarithm of sigma.
 * @module
 */
import { type Combination, combine, difference } from "./combination.ts";
import { predict } from "./prediction.ts";
import { type Problem, type Sampler, type StepInputs, variancePreserving } from "./sampler.ts";
import type { NoiseLevel } from "./schedule.ts";
import type { Settings } from "./settings.ts";
import { type SolverPoints, solverPoints } from "./spacing.ts";

/** Below this many steps the last ones are of lower order, where `lower_order_final` says so. */
const FEW_STEPS = 15;

/** Multistep, algorithm 2 of DPM-Solver++: derivatives come from the outputs of earlier steps. */
export function dpmSolverMultistep(problem: Problem): Sampler {
  const { settings } = problem;
  if (settings.algorithm_type === "sde-dpmsolver++" && settings.solver_order === 3) {
    throw new RangeError("Scheduler config: solver_order is 3, supported with sde-dpmsolver++: 1, 2");
  }
  const points = solverPoints(problem);
  return {
    ...solver(settings, points),
    history: settings.solver_order - 1,
    step(inputs) {
      const { index, sample, history, noise } = inputs;
      const outputs = [solvedFor(settings, points.levels[index]!, inputs), ...history];
      const used = outputs.slice(0, solverOrder(settings, inputs, points));
      const derivatives = backwardDifferences(used, points.sigmas.slice(0, index + 1).reverse());
      const next = advance(settings, points, { from: index, to: index + 1, sample, derivatives, noise });
      return [next, ...outputs.slice(0, -1)];
    },
  };
}

/** Singlestep, algorithm 1 of DPM-Solver++: every second step starts again where the one before it started. */
export function dpmSolverSinglestep(problem: Problem): Sampler {
  const { settings, steps } = problem;
  const points = solverPoints(problem);
  const { sigmas, levels } = points;
  const lastIsFirstOrder = settings.lower_order_final || settings.final_sigmas_type === "zero" || steps % 2 === 1;
  return {
    ...solver(settings, points),
    history: 2,
    step(inputs) {
      const { index, done, sample, noise } = inputs;
      const [start, earlier] = inputs.history as [Combination, Combination];
      const output = solvedFor(settings, levels[index]!, inputs);
      const to = index + 1;
      const isLast = lastIsFirstOrder && index === steps - 1;
      if (settings.solver_order === 1 || index % 2 === 0 || done === 0 || isLast) {
        const next = advance(settings, points, { from: index, to, sample, derivatives: [output], noise });
        return [next, sample, output];
      }
      const slope = difference(output, earlier, Math.log(sigmas[index - 1]! / sigmas[index]!));
      const derivatives = [earlier, slope];
      return [advance(settings, points, { from: index - 1, to, sample: start, derivatives, noise }), start, output];
    },
  };
}

/** What all solvers share. */
export function solver(settings: Settings, { timesteps, levels }: SolverPoints): Omit<Sampler, "history" | "step"> {
  return {
    ...variancePreserving((index) => levels[index]!),
    timesteps,
    order: 1,
    usesNoise: () => settings.algorithm_type === "sde-dpmsolver++",
  };
}

/** The order of a multistep step: as much as history allows, less at the end. */
export function solverOrder(
  settings: Settings,
  { index, done }: Pick<StepInputs, "index" | "done">,
  { timesteps }: SolverPoints,
): number {
  const remaining = timesteps.length - index;
  const careful = settings.lower_order_final && timesteps.length < FEW_STEPS;
  const firstAtEnd = settings.euler_at_final || settings.final_sigmas_type === "zero";
  const most = careful ? remaining : firstAtEnd && remaining === 1 ? 1 : settings.solver_order;
  return Math.min(settings.solver_order, done + 1, most);
}

/** The part of the sample that the equation is solved for: the noise, or in "++" the image. */
function solvedFor(settings: Settings, level: NoiseLevel, inputs: StepInputs): Combination {
  const { image, epsilon } = predict(settings, level, inputs);
  return settings.algorithm_type === "dpmsolver" ? epsilon : image;
}

/** The output and its first and second derivatives over lambda, by divided differences of `outputs`, newest first. */
function backwardDifferences(outputs: readonly Combination[], sigmas: readonly number[]): readonly Combination[] {
  const [newest, middle, oldest] = outputs as [Combination, Combination?, Combination?];
  if (middle === undefined) return [newest];
  const gap = Math.log(sigmas[1]! / sigmas[0]!);
  const recent = difference(newest, middle, gap);
  if (oldest === undefined) return [newest, recent];
  const earlierGap = Math.log(sigmas[2]! / sigmas[1]!);
  const second = difference(recent, difference(middle, oldest, earlierGap), gap + earlierGap);
  return [newest, combine([1, recent], [gap, second]), second];
}

/** A stretch of the exact solution between two of a run's points, over which the output is a polynomial in lambda. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly sample: Combination;
  readonly derivatives: readonly Combination[];
  readonly noise: Combination;
}

/**
 * Proposition 4.1 of DPM-Solver++ with its integrals done, and the same with fresh noise (SDE-DPM-Solver++). Solving for
 * the noise swaps the roles of signal and noise and the sign of lambda.
 */
function advance(settings: Settings, { sigmas, levels }: SolverPoints, stretch: Stretch): Combination {
  const { from, to, sample, derivatives, noise } = stretch;
  const [now, next] = [levels[from]!, levels[to]!];
  const swapped = settings.algorithm_type === "dpmsolver";
  const stochastic = settings.algorithm_type === "sde-dpmsolver++";
  const h = Math.log(sigmas[from]! / sigmas[to]!);
  const k = swapped ? -h : stochastic ? 2 * h : h;
  const kept = swapped ? next.signal / now.signal : next.noise / now.noise * (stochastic ? Math.exp(-h) : 1);
  const scale = swapped ? next.noise : next.signal;
  const constant = -Math.expm1(-k);
  const midpoint = settings.solver_type === "midpoint" && derivatives.length === 2;
  const integrals = [
    constant,
    h * (midpoint ? constant / 2 : 1 - constant / k),
    // Half of what the paper's third order needs, as in diffusers and k-diffusion: with it the run is of second order.
    h * h * (1 / 2 - (k - constant) / (k * k)),
  ];
  return combine(
    [kept, sample],
    ...derivatives.map((derivative, i) => [scale * integrals[i]!, derivative] as const),
    [stochastic ? next.noise * Math.sqrt(-Math.expm1(-2 * h)) : 0, noise],
  );
}
