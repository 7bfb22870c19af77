/**
 * The schedulers by diffusers' class and by our name: the one place to add one.
 * @module
 */
import { ddim } from "./ddim.ts";
import { ddpm } from "./ddpm.ts";
import { deis } from "./deis.ts";
import { dpmSolverMultistep, dpmSolverSinglestep } from "./dpm_solver.ts";
import { euler, eulerAncestral } from "./euler.ts";
import { dpm2, heun } from "./heun.ts";
import { lcm } from "./lcm.ts";
import { lms } from "./lms.ts";
import { pndm } from "./pndm.ts";
import type { Problem, Sampler } from "./sampler.ts";
import type { Choices, Settings } from "./settings.ts";
import { unipc } from "./unipc.ts";

/** A class of diffusers. */
export interface SchedulerClass {
  readonly sampler: (problem: Problem) => Sampler;
  /** The keys that the class reads from a model's config, with the values they have when it lacks them. */
  readonly defaults: Partial<Settings>;
  /** Values that this class supports, where they are fewer than a key may have. */
  readonly accepts?: Choices;
  /** Whether `eta` says how much fresh noise it adds. */
  readonly takesEta?: true;
  /** Our names for it; the first one is the class with its defaults for Stable Diffusion. */
  readonly names: Readonly<Record<string, SchedulerVariant>>;
}

export interface SchedulerVariant {
  /** What it sets beyond what the model was trained with. */
  readonly settings?: Partial<Settings>;
  readonly summary: string;
  /** The sampler in AUTOMATIC1111's web UI or, if it has none, in a fork; then its schedule, if not the plain one. */
  readonly webUi: readonly [sampler: string, schedule?: "Karras" | "SGM Uniform"];
}

const sigmaDefaults: Partial<Settings> = {
  timestep_spacing: "linspace",
  steps_offset: 0,
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
};

/** Read by the classes that diffusers lets start from pure noise. */
const zeroSnr: Partial<Settings> = { rescale_betas_zero_snr: false };

const solverDefaults: Partial<Settings> = {
  ...sigmaDefaults,
  solver_order: 2,
  lower_order_final: true,
  thresholding: false,
  use_flow_sigmas: false,
};

const dpmDefaults: Partial<Settings> = {
  ...solverDefaults,
  algorithm_type: "dpmsolver++",
  solver_type: "midpoint",
  final_sigmas_type: "zero",
  lambda_min_clipped: -Infinity,
};

const dpmAccepts: Choices = {
  solver_order: [1, 2, 3],
  solver_type: ["midpoint", "heun"],
  algorithm_type: ["dpmsolver++", "sde-dpmsolver++", "dpmsolver"],
};

/** By `_class_name`. */
export const classes: Readonly<Record<string, SchedulerClass>> = {
  PNDMScheduler: {
    sampler: pndm,
    defaults: { timestep_spacing: "leading", steps_offset: 0, set_alpha_to_one: false, skip_prk_steps: false },
    names: {
      pndm: {
        settings: { steps_offset: 1, skip_prk_steps: true },
        summary: "pseudo linear multistep, the scheduler of Stable Diffusion 1.4",
        webUi: ["PLMS"],
      },
    },
  },
  DDIMScheduler: {
    sampler: ddim,
    takesEta: true,
    defaults: {
      ...zeroSnr,
      timestep_spacing: "leading",
      steps_offset: 0,
      set_alpha_to_one: true,
      clip_sample: true,
      thresholding: false,
    },
    names: {
      "ddim": {
        settings: { steps_offset: 1, set_alpha_to_one: false, clip_sample: false },
        summary: "deterministic, or with --eta as noisy as asked",
        webUi: ["DDIM"],
      },
      "ddim-trailing": {
        settings: { timestep_spacing: "trailing", set_alpha_to_one: false, clip_sample: false },
        summary: "ddim that begins at pure noise, for few steps",
        webUi: ["DDIM", "SGM Uniform"],
      },
    },
  },
  EulerDiscreteScheduler: {
    sampler: euler,
    defaults: {
      ...sigmaDefaults,
      ...zeroSnr,
      sigma_min: 0,
      sigma_max: 0,
      final_sigmas_type: "zero",
      interpolation_type: "linear",
      timestep_type: "discrete",
    },
    names: {
      "euler": { summary: "first order, robust", webUi: ["Euler"] },
      "euler-karras": {
        settings: { use_karras_sigmas: true },
        summary: "euler with more steps where there is little noise",
        webUi: ["Euler", "Karras"],
      },
      "euler-trailing": {
        settings: { timestep_spacing: "trailing" },
        summary: "euler that begins at pure noise, for few steps",
        webUi: ["Euler", "SGM Uniform"],
      },
    },
  },
  EulerAncestralDiscreteScheduler: {
    sampler: eulerAncestral,
    defaults: { ...zeroSnr, timestep_spacing: "linspace", steps_offset: 0 },
    names: { "euler-ancestral": { summary: "euler with fresh noise each step: never settles", webUi: ["Euler a"] } },
  },
  HeunDiscreteScheduler: {
    sampler: heun,
    defaults: { ...sigmaDefaults, beta_start: 0.00085, beta_end: 0.012, clip_sample: false },
    names: { heun: { summary: "euler with a corrected slope: second order", webUi: ["Heun"] } },
  },
  LMSDiscreteScheduler: {
    sampler: lms,
    defaults: sigmaDefaults,
    names: { lms: { summary: "linear multistep of fourth order", webUi: ["LMS"] } },
  },
  KDPM2DiscreteScheduler: {
    sampler: dpm2,
    defaults: { ...sigmaDefaults, beta_start: 0.00085, beta_end: 0.012 },
    names: { dpm2: { summary: "euler with the slope half way: second order", webUi: ["DPM2"] } },
  },
  DPMSolverMultistepScheduler: {
    sampler: dpmSolverMultistep,
    defaults: { ...dpmDefaults, ...zeroSnr, euler_at_final: false, use_lu_lambdas: false },
    accepts: dpmAccepts,
    names: {
      "dpmpp-2m": { summary: "DPM-Solver++ of second order, multistep: good from 15 steps", webUi: ["DPM++ 2M"] },
      "dpmpp-2m-karras": {
        settings: { use_karras_sigmas: true },
        summary: "dpmpp-2m with more steps where there is little noise",
        webUi: ["DPM++ 2M", "Karras"],
      },
      "dpmpp-2m-sde": {
        settings: { algorithm_type: "sde-dpmsolver++" },
        summary: "dpmpp-2m with fresh noise each step",
        webUi: ["DPM++ 2M SDE"],
      },
    },
  },
  DPMSolverSinglestepScheduler: {
    sampler: dpmSolverSinglestep,
    defaults: { ...dpmDefaults, lower_order_final: false },
    accepts: { ...dpmAccepts, solver_order: [1, 2] },
    names: {
      "dpmpp-2s": {
        settings: { lower_order_final: true },
        summary: "DPM-Solver++ of second order, singlestep",
        webUi: ["DPM++ 2S"],
      },
    },
  },
  UniPCMultistepScheduler: {
    sampler: unipc,
    defaults: {
      ...solverDefaults,
      ...zeroSnr,
      sigma_min: 0,
      sigma_max: 0,
      solver_type: "bh2",
      final_sigmas_type: "zero",
      predict_x0: true,
    },
    accepts: { solver_order: [1, 2], solver_type: ["bh1", "bh2"] },
    names: { unipc: { summary: "predicts and corrects: good from 10 steps", webUi: ["UniPC"] } },
  },
  DEISMultistepScheduler: {
    sampler: deis,
    defaults: { ...solverDefaults, algorithm_type: "deis", solver_type: "logrho" },
    accepts: { algorithm_type: ["deis"], solver_order: [1, 2, 3], solver_type: ["logrho"] },
    names: { deis: { summary: "exponential integrator, multistep", webUi: ["DEIS"] } },
  },
  LCMScheduler: {
    sampler: lcm,
    defaults: {
      ...zeroSnr,
      beta_start: 0.00085,
      beta_end: 0.012,
      beta_schedule: "scaled_linear",
      original_inference_steps: 50,
      timestep_scaling: 10,
      clip_sample: false,
      thresholding: false,
    },
    names: { lcm: { summary: "for latent consistency models, 2 to 8 steps", webUi: ["LCM"] } },
  },
  DDPMScheduler: {
    sampler: ddpm,
    defaults: {
      ...zeroSnr,
      timestep_spacing: "leading",
      steps_offset: 0,
      variance_type: "fixed_small",
      clip_sample: true,
      thresholding: false,
    },
    names: {
      ddpm: {
        settings: { steps_offset: 1, clip_sample: false },
        summary: "the original: fresh noise each step, many steps",
        webUi: ["DDPM"],
      },
    },
  },
};
