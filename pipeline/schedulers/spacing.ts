/**
 * Which timesteps and sigmas a run visits.
 * @module
 */
import { descend, interpolate, linspace, round } from "./numpy.ts";
import { levelOfSigma } from "./noise_schedule.ts";
import type { Problem } from "./sampler.ts";
import type { NoiseLevel } from "./schedule.ts";

/** The points of a run in order of falling noise. */
export interface Points {
  /** One for each step. */
  readonly timesteps: readonly number[];
  /** Noise over signal at each timestep, and where the last step ends. */
  readonly sigmas: readonly number[];
}

/** Noise over signal at each timestep of training, rising. */
export function sigmaTable({ settings, shares }: Problem): readonly number[] {
  // Pure noise has no sigma: diffusers leaves this much signal in it.
  const nonzero = shares.map((share) => settings.rescale_betas_zero_snr ? Math.max(share, 2 ** -24) : share);
  return nonzero.map((share) => Math.fround(Math.sqrt(Math.fround(Math.fround(1 - share) / share))));
}

/** Whole timesteps for a sampler that looks noise up by timestep. */
export function wholeTimesteps(problem: Problem): number[] {
  const { settings, steps } = problem;
  const { num_train_timesteps: count, steps_offset: offset } = settings;
  switch (settings.timestep_spacing) {
    case "linspace":
      return linspace(0, count - 1, steps).map(round).reverse();
    case "leading":
      return leading(Math.floor(count / steps), steps).map((timestep) => timestep + offset);
    case "trailing":
      return trailing(problem, count);
  }
}

function leading(stride: number, steps: number): number[] {
  return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * stride);
}

/** From `last` down. For some numbers of steps, such as 61, numpy counts one more, below the first timestep. */
function trailing({ settings, steps }: Problem, last: number): number[] {
  const timesteps = descend(last, settings.num_train_timesteps / steps).slice(0, steps);
  return timesteps.map((timestep) => round(timestep) - 1);
}

/** The points of k-diffusion's samplers (arXiv 2206.00364), with timesteps that are not always whole. */
export function sigmaPoints(problem: Problem): Points {
  const { settings, steps } = problem;
  const table = sigmaTable(problem);
  const timesteps = settings.timestep_spacing === "linspace"
    ? linspace(0, settings.num_train_timesteps - 1, steps).map(Math.fround).reverse()
    : wholeTimesteps(problem);
  const sigmas = timesteps.map((timestep) => interpolate(timestep, table));
  const spread = respace(problem, [sigmas.at(-1)!, sigmas[0]!]);
  return finish(problem, {
    timesteps: spread?.map((sigma) => Math.fround(timestepOf(sigma, table))) ?? timesteps,
    sigmas: spread ?? sigmas,
  });
}

/** Points, and how noisy the sample is at each: its level's `noise / signal` is the sigma. */
export interface SolverPoints extends Points {
  readonly levels: readonly NoiseLevel[];
}

/** The points of DPM-Solver and its kin (arXiv 2211.01095): whole timesteps, of linspace all but the last. */
export function solverPoints(problem: Problem): SolverPoints {
  const { settings } = problem;
  const table = sigmaTable(problem);
  const last = table.filter((sigma) => -Math.log(sigma) >= settings.lambda_min_clipped).length;
  const whole = settings.use_karras_sigmas ? round : Math.floor;
  const spread = respace(problem, [table[0]!, table.at(-1)!]);
  const timesteps = spread?.map((sigma) => whole(timestepOf(sigma, table))) ?? solverTimesteps(problem, last);
  const points = finish(problem, {
    timesteps,
    sigmas: spread ?? timesteps.map((timestep) => interpolate(timestep, table)),
  });
  return { ...points, levels: points.sigmas.map(levelOfSigma) };
}

function solverTimesteps(problem: Problem, last: number): number[] {
  const { settings, steps } = problem;
  switch (settings.timestep_spacing) {
    case "linspace":
      return linspace(0, last - 1, steps + 1).slice(1).map(round).reverse();
    case "leading":
      return leading(Math.floor(last / (steps + 1)), steps + 1).slice(0, -1)
        .map((timestep) => timestep + settings.steps_offset);
    case "trailing":
      return trailing(problem, last);
  }
}

/** Sigmas spread over `range` whatever their timesteps, if the settings ask for it. */
function respace({ settings, steps }: Problem, range: readonly [number, number]): number[] | undefined {
  const [low, high] = [settings.sigma_min || range[0], settings.sigma_max || range[1]];
  if (settings.use_karras_sigmas) {
    const rho = 7; // arXiv 2206.00364, equation 5
    return linspace(0, 1, steps).map((t) => (high ** (1 / rho) + t * (low ** (1 / rho) - high ** (1 / rho))) ** rho);
  }
  if (settings.use_exponential_sigmas) return linspace(Math.log(high), Math.log(low), steps).map(Math.exp);
}

/** The timestep, not always whole, whose sigma is `sigma`: linear between neighbours on the scale of log sigma. */
export function timestepOf(sigma: number, table: readonly number[]): number {
  const logs = table.map((value) => Math.fround(Math.log(value)));
  const log = Math.log(Math.max(sigma, 1e-10));
  const below = Math.max(0, Math.min(logs.findLastIndex((value) => value <= log), logs.length - 2));
  const [low, high] = [logs[below]!, logs[below + 1]!];
  const weight = Math.min(Math.max((low - log) / (low - high), 0), 1);
  return (1 - weight) * below + weight * (below + 1);
}

function finish({ settings, shares }: Problem, { timesteps, sigmas }: Points): Points {
  const end = settings.final_sigmas_type === "zero" ? 0 : Math.sqrt((1 - shares[0]!) / shares[0]!);
  return { timesteps, sigmas: [...sigmas, end].map(Math.fround) };
}
