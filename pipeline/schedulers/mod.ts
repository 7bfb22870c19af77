/**
 * Schedulers: which timesteps a run visits and what each of its steps does to the latent.
 * @module
 */
import { shown } from "../../weights/json.ts";
import { createSchedule, type Problem } from "./sampler.ts";
import type { Schedule } from "./schedule.ts";
import { signalShares } from "./noise_schedule.ts";
import { readSettings, type Settings, trainingKeys } from "./settings.ts";
import { schedulerNames } from "./names.ts";
import { classes, type SchedulerClass, type SchedulerVariant } from "./table.ts";

export { initialState, MAX_SLOTS, runStep } from "./schedule.ts";
export type { NoiseLevel, Schedule, ScheduleStep, StepValues } from "./schedule.ts";

export { findScheduler, schedulerAliases, schedulerNames, schedulerSummary, webUiNames } from "./names.ts";

/** A scheduler_config.json, as its JSON parses. */
export type SchedulerConfig = Readonly<Record<string, unknown>>;

export interface ScheduleOptions {
  /** Steps from pure noise to the image, 1 to the model's number of timesteps. */
  readonly steps: number;
  /** A name of {@link schedulerNames}; absent, the model's own config says everything. */
  readonly name?: string | undefined;
  /** Steps to leave out at the beginning, for image-to-image: see {@link skippedSteps}. Default 0. */
  readonly start?: number | undefined;
  /** How much fresh noise DDIM adds, 0 to 1; other schedulers refuse all but 0, the default. */
  readonly eta?: number | undefined;
  /** What the model predicts, the noise or the velocity; absent, what its config says. */
  readonly prediction?: "epsilon" | "v" | undefined;
}

/**
 * The schedule of a model. A named scheduler takes its spacing and its variant from the table, and from the model only
 * how it was trained: betas and the kind of prediction.
 * @throws {RangeError} for a name, class or value that is not supported.
 * @throws {TypeError} for a config value of the wrong kind.
 */
export function scheduleFor(config: SchedulerConfig, options: ScheduleOptions): Schedule {
  const { steps, name, start = 0, eta = 0, prediction } = options;
  const { sampler, defaults, accepts = {}, takesEta } = name === undefined ? classOf(config) : namedClass(name);
  const settings = readSettings({
    ...(name === undefined ? config : trainingOf(config)),
    ...(prediction && { prediction_type: prediction === "v" ? "v_prediction" : prediction }),
  }, { defaults, accepts });
  const shares = signalShares(settings);
  const { num_train_timesteps: most } = settings;
  if (!Number.isInteger(steps) || steps < 1 || steps > most) {
    throw new RangeError(`The number of steps must be a whole number from 1 to ${most}, not ${steps}`);
  }
  if (!Number.isInteger(start) || start < 0 || start >= steps) {
    throw new RangeError(`A run of ${steps} steps cannot start at step ${start}`);
  }
  if (!(eta >= 0 && eta <= 1)) throw new RangeError(`Eta is ${eta}: use a number from 0 to 1`);
  if (eta > 0 && !takesEta) {
    throw new RangeError(`Only these schedulers take eta: ${namesOf(({ takesEta }) => takesEta)}`);
  }
  if (settings.rescale_betas_zero_snr && !readsZeroSnr(defaults)) {
    const others = namesOf(({ defaults }) => readsZeroSnr(defaults));
    throw new RangeError(
      `Scheduler ${name ?? config._class_name} cannot start from the pure noise of rescale_betas_zero_snr; ` +
        `choose one of ${others}`,
    );
  }
  const problem: Problem = { settings, shares, steps, eta };
  return createSchedule(sampler(problem), { settings, start });
}

/** How often a scheduler runs the model for each step, 1 or 2; in all, one more or one less. */
export function evaluationsPerStep(name: string): number {
  const steps = 10;
  return Math.round(scheduleFor({}, { steps, name }).steps.length / steps);
}

/** How many of `steps` image-to-image leaves out at `strength`, which is 0 to 1; none at 1. */
export function skippedSteps(steps: number, strength: number): number {
  return Math.max(steps - Math.floor(steps * strength), 0);
}

/** The name in the table that is nearest to a model's own configuration: of its class, the most similar variant. */
export function nearestName(config: SchedulerConfig): string {
  const likeness = ({ settings = {} }: SchedulerVariant) =>
    Object.entries(settings).reduce((sum, [key, value]) => sum + (config[key] === value ? 1 : -1), 0);
  const variants = Object.entries(classOf(config).names);
  return variants.toSorted(([, a], [, b]) => likeness(b) - likeness(a))[0]![0];
}

function classOf({ _class_name: className }: SchedulerConfig): SchedulerClass {
  const found = Object.hasOwn(classes, String(className)) ? classes[String(className)] : undefined;
  if (found === undefined) {
    throw new RangeError(
      `Scheduler class ${shown(className)} is not supported; known: ${Object.keys(classes).join(", ")}`,
    );
  }
  return found;
}

function namedClass(name: string): SchedulerClass {
  const found = Object.values(classes).find(({ names }) => Object.hasOwn(names, name));
  if (found === undefined) {
    throw new RangeError(`Scheduler ${name} is not known; known: ${schedulerNames().join(", ")}`);
  }
  return { ...found, defaults: { ...found.defaults, ...found.names[name]!.settings } };
}

/** Whether diffusers' class knows zero terminal SNR. */
function readsZeroSnr(defaults: Partial<Settings>): boolean {
  return defaults.rescale_betas_zero_snr !== undefined;
}

/** Our names of some classes. */
function namesOf(some: (scheduler: SchedulerClass) => unknown): string {
  return Object.values(classes).filter(some).flatMap(({ names }) => Object.keys(names)).join(", ");
}

function trainingOf(config: SchedulerConfig): SchedulerConfig {
  return Object.fromEntries(trainingKeys.map((key) => [key, config[key]]));
}
