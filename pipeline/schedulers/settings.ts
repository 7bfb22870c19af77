/**
 * What a scheduler_config.json says, checked.
 * @module
 */
import { shown } from "../../weights/json.ts";

/**
 * The keys of a scheduler_config.json that a sampler may read, by their own names. A class reads only those that
 * diffusers' class of that name reads; the others keep the value of {@link neutral}.
 */
export interface Settings {
  readonly num_train_timesteps: number;
  /** Variance added at timestep 0, and at the last one. */
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: "linear" | "scaled_linear" | "squaredcos_cap_v2";
  /** The variances themselves, one for each timestep; empty for none. */
  readonly trained_betas: readonly number[];
  /** Whether the last timestep is made pure noise: zero terminal SNR, arXiv 2305.08891. */
  readonly rescale_betas_zero_snr: boolean;
  /** What the UNet predicts: the noise, the velocity or the clean latent. */
  readonly prediction_type: "epsilon" | "v_prediction" | "sample";
  /** How the steps are spread over the timesteps (arXiv 2305.08891, table 2). */
  readonly timestep_spacing: "linspace" | "leading" | "trailing";
  /** Added to every timestep of leading spacing. */
  readonly steps_offset: number;
  /** Whether the step after the last one is free of noise, or as noisy as timestep 0. */
  readonly set_alpha_to_one: boolean;
  readonly skip_prk_steps: boolean;
  /** How noisy a DDPM step is: its lower or its upper bound. */
  readonly variance_type: "fixed_small" | "fixed_small_log" | "fixed_large";
  /** Whether the sigmas are those of arXiv 2206.00364, equation 5. */
  readonly use_karras_sigmas: boolean;
  /** Whether the sigmas are a geometric series. */
  readonly use_exponential_sigmas: boolean;
  /** The smallest of those sigmas; 0 for the schedule's own. */
  readonly sigma_min: number;
  /** The largest of those sigmas; 0 for the schedule's own. */
  readonly sigma_max: number;
  /** Where the last step ends: at no noise, or at the noise of timestep 0. */
  readonly final_sigmas_type: "zero" | "sigma_min";
  readonly solver_order: number;
  readonly solver_type: "midpoint" | "heun" | "logrho" | "bh1" | "bh2";
  /** Which equation DPM-Solver solves: for the noise, the image, or the image with fresh noise. */
  readonly algorithm_type: "dpmsolver" | "dpmsolver++" | "sde-dpmsolver++" | "deis";
  /** Whether the last steps of a short run are of lower order. */
  readonly lower_order_final: boolean;
  /** Whether the last step is of first order however long the run. */
  readonly euler_at_final: boolean;
  /** Timesteps whose log(signal / noise) is smaller are left out. */
  readonly lambda_min_clipped: number;
  /** Steps that a consistency model was distilled with. */
  readonly original_inference_steps: number;
  /** How fast the boundary condition of a consistency model fades with the timestep. */
  readonly timestep_scaling: number;
  /** Whether the predicted image is clipped; refused, since the samplers here are linear and clipping is not. */
  readonly clip_sample: boolean;
  /** Refused for the same reason. */
  readonly thresholding: boolean;
  readonly use_beta_sigmas: boolean;
  /** Whether sigmas are those of flow matching, for which models are trained in another way. */
  readonly use_flow_sigmas: boolean;
  readonly use_lu_lambdas: boolean;
  readonly interpolation_type: "linear";
  readonly timestep_type: "discrete";
  /** Whether UniPC solves for the image; refused otherwise. */
  readonly predict_x0: boolean;
}

/** Every key at the value that changes nothing. */
export const neutral: Settings = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: "linear",
  trained_betas: [],
  rescale_betas_zero_snr: false,
  prediction_type: "epsilon",
  timestep_spacing: "linspace",
  steps_offset: 0,
  set_alpha_to_one: true,
  skip_prk_steps: true,
  variance_type: "fixed_small",
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  sigma_min: 0,
  sigma_max: 0,
  final_sigmas_type: "zero",
  solver_order: 2,
  solver_type: "midpoint",
  algorithm_type: "dpmsolver++",
  lower_order_final: true,
  euler_at_final: false,
  lambda_min_clipped: -Infinity,
  original_inference_steps: 50,
  timestep_scaling: 10,
  clip_sample: false,
  thresholding: false,
  use_beta_sigmas: false,
  use_flow_sigmas: false,
  use_lu_lambdas: false,
  interpolation_type: "linear",
  timestep_type: "discrete",
  predict_x0: true,
};

/** Values that a key may have; a class may narrow them further. */
export type Choices = { readonly [Key in keyof Settings]?: readonly Settings[Key][] };

const choices: Choices = {
  beta_schedule: ["linear", "scaled_linear", "squaredcos_cap_v2"],
  prediction_type: ["epsilon", "v_prediction", "sample"],
  timestep_spacing: ["linspace", "leading", "trailing"],
  skip_prk_steps: [true],
  variance_type: ["fixed_small", "fixed_small_log", "fixed_large"],
  final_sigmas_type: ["zero", "sigma_min"],
  clip_sample: [false],
  thresholding: [false],
  use_beta_sigmas: [false],
  use_flow_sigmas: [false],
  use_lu_lambdas: [false],
  interpolation_type: ["linear"],
  timestep_type: ["discrete"],
  predict_x0: [true],
};

/** Keys that say how noise was added in training. They are the model's, whatever samples it. */
export const trainingKeys = [
  "num_train_timesteps",
  "beta_start",
  "beta_end",
  "beta_schedule",
  "trained_betas",
  "rescale_betas_zero_snr",
  "prediction_type",
] as const satisfies readonly (keyof Settings)[];

/** The settings that `config` makes of `defaults`: keys that `defaults` lacks are not read, null counts as absent. */
export function readSettings(
  config: Readonly<Record<string, unknown>>,
  options: { readonly defaults: Partial<Settings>; readonly accepts?: Choices },
): Settings {
  const { defaults, accepts } = options;
  const allowed: Readonly<Record<string, readonly unknown[]>> = { ...choices, ...accepts };
  const read: Record<string, unknown> = { ...neutral, ...defaults };
  for (const key of new Set([...trainingKeys, ...Object.keys(defaults)])) {
    const value = config[key] ?? read[key];
    const [kind, wanted] = [kindOf(value), kindOf(read[key])];
    if (kind !== wanted) throw new TypeError(`Scheduler config: ${key} is of kind ${kind}, want ${wanted}`);
    if (allowed[key] && !allowed[key].includes(value)) {
      throw new RangeError(`Scheduler config: ${key} is ${shown(value)}, supported: ${allowed[key].join(", ")}`);
    }
    read[key] = value;
  }
  return read as unknown as Settings;
}

function kindOf(value: unknown): string {
  return Array.isArray(value) ? "array" : typeof value;
}
