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
  /** The scheduler config. */
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
  /** The latent. */
  readonly sample: Combination;
  /** What earlier evaluations left; zeros at first. */
  readonly history: readonly Combination[];
  /** The guided output of the UNet. */
  readonly output: Combination;
  /** Standard normal noise. */
  readonly noise: Combination;
}

/** A sampler with its settings: equations of each evaluation. */
export interface Sampler {
  /** What the UNet is given at each evaluation. */
  readonly timesteps: readonly number[];
  /** Evaluations a step. */
  readonly order: 1 | 2;
  /** Standard deviation of the latent that a run starts from. */
  readonly initNoiseSigma: number;
  /** Latents that are kept beside the sample. */
  readonly history: number;
  /** How noisy the sample is before evaluation `index`. */
  readonly levelAt: (index: number) => NoiseLevel;
  /** Whether evaluation `index` draws noise. */
  readonly usesNoise: (index: number) => boolean;
  /** The sample and the history after an evaluation. */
  readonly step: (inputs: StepInputs) => readonly Combination[];
}

/** What a schedule is written from beside the sampler. */
interface ScheduleSettings {
  /** The scheduler config. */
  readonly settings: Settings;
  /** The first step that is run. */
  readonly start: number;
}

/** Where a step stands. */
interface StepPlace extends Pick<StepInputs, "index" | "done"> {
  readonly settings: Settings;
}

/**
 * Writes `sampler` out as matrices, from step `start` on.
 * @throws {RangeError} if a coefficient is not finite.
 */
export function createSchedule(sampler: Sampler, { settings, start }: ScheduleSettings): Schedule {
  const skipped = start * sampler.order;
  const indices = sampler.timesteps.map((_, index) => index).slice(skipped);
  return {
    slots: 1 + sampler.history,
    initNoiseSigma: sampler.initNoiseSigma,
    noiseLevels: indices.map(sampler.levelAt),
    steps: indices.map((index) => writeStep(sampler, { index, done: index - skipped, settings })),
  };
}

function writeStep(sampler: Sampler, { settings, ...at }: StepPlace): ScheduleStep {
  const inputs = basis(sampler.history + 3);
  const [sample, output, noise] = [inputs[0]!, inputs.at(-2)!, inputs.at(-1)!];
  const transition = sampler.step({ ...at, sample, output, noise, history: inputs.slice(1, -2) });
  const timestep = sampler.timesteps[at.index]!;
  if (!transition.flat().every(Number.isFinite)) {
    throw new RangeError(
      `No finite step at timestep ${timestep}: too many steps, or settings that contradict each other`,
    );
  }
  // The UNet was trained on inputs of unit variance; float32, so that a sampler whose sample has it gives exactly 1.
  const level = sampler.levelAt(at.index);
  const inputScale = Math.fround(1 / Math.hypot(level.signal, level.noise));
  const { image } = predict(settings, level, { sample, output });
  return { timestep, inputScale, transition, image, usesNoise: sampler.usesNoise(at.index) };
}
