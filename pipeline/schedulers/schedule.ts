/**
 * A schedule: everything a sampler does to a latent, as data.
 *
 * Every sampler here is linear in the sample, the model's output, its own history and fresh noise. So a whole run is
 * a list of small matrices, known before the first step, and one loop or one GPU kernel executes all samplers.
 * @module
 */

/** The most slots of state that a schedule has: the sample and four of history. */
export const MAX_SLOTS = 5;

/** How noisy a sample is: `signal * image + noise * normal`. */
export interface NoiseLevel {
  /** Factor of the clean latent. */
  readonly signal: number;
  /** Factor of the standard normal noise. */
  readonly noise: number;
}

/** What one evaluation of the UNet needs and what becomes of its output. */
export interface ScheduleStep {
  /** 0 to 999, not always whole. */
  readonly timestep: number;
  /** The UNet's input is the sample times this. */
  readonly inputScale: number;
  /**
   * New slots from old, [slots, slots + 2]: row i gives slot i, the columns are the slots (the sample first), the
   * guided output of the UNet, and noise.
   */
  readonly transition: readonly (readonly number[])[];
  /** The clean image that the output predicts, as such a row; for previews only. */
  readonly image: readonly number[];
  /** Whether one normal tensor is drawn here. Some samplers draw even where the factor of the noise is 0. */
  readonly usesNoise: boolean;
}

/** A run of a sampler, one {@link ScheduleStep} for each evaluation of the UNet. */
export interface Schedule {
  /** Slots of state, 1 to {@link MAX_SLOTS}: the sample, then history, which starts as zeros. */
  readonly slots: number;
  /** A text-to-image run starts from standard normal noise times this. */
  readonly initNoiseSigma: number;
  /** The evaluations in order. A second-order sampler has about two for each step that was asked for. */
  readonly steps: readonly ScheduleStep[];
  /**
   * How noisy the sample is before each step, as diffusers' `add_noise`: image-to-image starts from
   * `signal * image + noise * normal` with the first of these.
   */
  readonly noiseLevels: readonly NoiseLevel[];
}

/** What a step turns into new state, all of one length. */
export interface StepValues {
  /** One tensor for each slot, the sample first. */
  readonly state: readonly ArrayLike<number>[];
  /** The guided output of the UNet. */
  readonly output: ArrayLike<number>;
  /** Standard normal, read only if the step uses noise. */
  readonly noise?: ArrayLike<number>;
}

/**
 * Executes one step in float64: the new state, slot by slot. This is the specification of the GPU's kernel.
 * @throws {TypeError} if the step uses noise and none is given.
 */
export function runStep(step: ScheduleStep, values: StepValues): Float64Array[] {
  const { state, output, noise } = values;
  if (step.usesNoise && noise === undefined) throw new TypeError(`The step at ${step.timestep} needs noise`);
  const inputs = [...state, output, ...(noise === undefined ? [] : [noise])];
  return step.transition.map((row) =>
    Float64Array.from(output, (_, i) => inputs.reduce((sum, input, column) => sum + row[column]! * input[i]!, 0))
  );
}

/** The state before the first step: `sample` and a history of zeros. */
export function initialState(schedule: Schedule, sample: ArrayLike<number>): ArrayLike<number>[] {
  return Array.from({ length: schedule.slots }, (_, slot) => slot === 0 ? sample : new Float64Array(sample.length));
}
