/**
 * What a sampler is: equations, and the loop that turns them into a schedule.
 * @module
 */
import { basis, type Combination } from "./combination.ts";
import { predict } from "./prediction.ts";
import type { NoiseLevel, Schedule, ScheduleStep } from "./schedule.ts";
import type { Settings } from "./settings.ts";

/** What a sampler is asked to solve. */
export interface Problem {
  readonly settings: Settings;
  /** The share of signal at each timestep of training. */
  readonly shares: readonly number[];
  /** Steps from pure noise to the image. */
  readonly steps: number;
  /** How much fresh noise DDIM adds, 0 to 1. */
  readonly eta: number;
}

/** The inputs of one evaluation, as combinations. */
export interface StepInputs {
  /** Index of the evaluation in the whole run. */
  readonly index: number;
  /** Evaluations done before this one; less than `index` if the run started late. */
  readonly done: number;
  readonly sample: Combination;
  /** What earlier evaluations left; zeros at first. */
  readonly history: readonly Combination[];
  /** The guided output of the UNet. */
  readonly output: Combination;
  /** Standard normal noise. */
  readonly noise: Combination;
}

/** How a sampler scales its samples. */
export interface Scaling {
  /** Standard deviation of the latent that a run starts from. */
  readonly initNoiseSigma: number;
  /** How noisy the sample is before evaluation `index`. */
  readonly levelAt: (index: number) => NoiseLevel;
  /** The UNet's input at evaluation `index` is the sample times this, a float32. */
  readonly inputScale: (index: number) => number;
}

/** A sampler with its settings: equations of each evaluation. */
export interface Sampler extends Scaling {
  /** What the UNet is given at each evaluation. */
  readonly timesteps: readonly number[];
  /** Evaluations a step. */
  readonly order: 1 | 2;
  /** Latents that are kept beside the sample. */
  readonly history: number;
  /** Whether evaluation `index` draws noise. */
  readonly usesNoise: (index: number) => boolean;
  /** The sample and the history after an evaluation. */
  readonly step: (inputs: StepInputs) => readonly Combination[];
}

/** Samples of unit variance, on which the UNet was trained: `signal^2 + noise^2 = 1`. */
export function variancePreserving(levelAt: Scaling["levelAt"]): Scaling {
  return { initNoiseSigma: 1, levelAt, inputScale: () => 1 };
}

/**
 * Samples of k-diffusion: the clean latent plus `sigmaAt` times noise, brought to unit variance for the UNet. A run with
 * leading spacing starts below pure noise, where the latent counts.
 */
export function varianceExploding({ settings }: Problem, sigmaAt: (index: number) => number): Scaling {
  return {
    initNoiseSigma: settings.timestep_spacing === "leading" ? Math.hypot(sigmaAt(0), 1) : sigmaAt(0),
    levelAt: (index) => ({ signal: 1, noise: sigmaAt(index) }),
    inputScale: (index) => Math.fround(1 / Math.hypot(1, sigmaAt(index))),
  };
}

/**
 * Writes `sampler` out as matrices, from step `start` on.
 * @throws {RangeError} if a coefficient is not finite.
 */
export function createSchedule(sampler: Sampler, { settings, start }: {
  readonly settings: Settings;
  /** The first step that is run. */
  readonly start: number;
}): Schedule {
  const skipped = start * sampler.order;
  const indices = sampler.timesteps.map((_, index) => index).slice(skipped);
  return {
    slots: 1 + sampler.history,
    initNoiseSigma: sampler.initNoiseSigma,
    noiseLevels: indices.map(sampler.levelAt),
    steps: indices.map((index) => writeStep(sampler, { index, done: index - skipped, settings })),
  };
}

function writeStep(
  sampler: Sampler,
  { settings, ...at }: Pick<StepInputs, "index" | "done"> & { readonly settings: Settings },
): ScheduleStep {
  const inputs = basis(sampler.history + 3);
  const [sample, output, noise] = [inputs[0]!, inputs.at(-2)!, inputs.at(-1)!];
  const transition = sampler.step({ ...at, sample, output, noise, history: inputs.slice(1, -2) });
  const timestep = sampler.timesteps[at.index]!;
  const level = sampler.levelAt(at.index);
  const inputScale = sampler.inputScale(at.index);
  const { image } = predict(settings, level, { sample, output });
  // The GPU has them as float32.
  const numbers = [timestep, inputScale, level.signal, level.noise, ...image, ...transition.flat()].map(Math.fround);
  if (!numbers.every(Number.isFinite)) {
    throw new RangeError(
      `No finite step at timestep ${timestep}: too many steps, or settings that contradict each other`,
    );
  }
  return {
    timestep,
    inputScale,
    transition,
    image,
    usesNoise: sampler.usesNoise(at.index),
  };
}
