import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  type NoiseLevel,
  runStep,
  scheduleFor,
  type ScheduleOptions,
  type SchedulerConfig,
  schedulerNames,
  skippedSteps,
} from "../../../pipeline/schedulers/mod.ts";
import { neutral } from "../../../pipeline/schedulers/settings.ts";
import { classes } from "../../../pipeline/schedulers/table.ts";

/** What Stable Diffusion 1.x was trained with. */
const training = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };

/** Steps over all timesteps: the levels of training themselves, from the last to timestep 0. */
const everyTimestep: SchedulerConfig = { _class_name: "DDIMScheduler", clip_sample: false };

// [config beside the training's, options, part of the message]
const refused: readonly (readonly [SchedulerConfig, Partial<ScheduleOptions>, string])[] = [
  [{}, {}, "Scheduler class nothing is not supported; known: PNDMScheduler, DDIMScheduler"],
  [{ _class_name: "toString" }, {}, 'Scheduler class "toString" is not supported'],
  [{}, { name: "eular" }, "Scheduler eular is not known; known: pndm, ddim"],
  [{}, { name: "constructor" }, "Scheduler constructor is not known"],
  [{}, { name: "ddim", steps: 0 }, "The number of steps must be a whole number from 1 to 1000, not 0"],
  [{}, { name: "ddim", steps: 1001 }, "not 1001"],
  [{}, { name: "ddim", steps: 2.5 }, "not 2.5"],
  [{}, { name: "ddim", steps: NaN }, "not NaN"],
  [{}, { name: "lcm", steps: 51 }, "at most original_inference_steps = 50 steps, not 51"],
  [{}, { name: "dpmpp-2m", steps: 1000 }, "too many steps"],
  [{}, { name: "ddim", steps: 1000 }, "Timestep 1000 is not one of the 1000"],
  [{}, { name: "ddim", start: 5 }, "A run of 5 steps cannot start at step 5"],
  [{}, { name: "ddim", start: -1 }, "cannot start at step -1"],
  [{}, { name: "ddim", eta: 1.5 }, "Eta is 1.5: use a number from 0 to 1"],
  [{}, { name: "euler", eta: 1 }, "Only these schedulers take eta: ddim, ddim-trailing"],
  [{ num_train_timesteps: 10.5 }, { name: "ddim" }, "num_train_timesteps is 10.5"],
  [{ num_train_timesteps: 1e9 }, { name: "ddim" }, "num_train_timesteps is 1000000000"],
  [{ beta_start: -2, beta_end: -1, beta_schedule: "linear" }, { name: "ddim" }, "the betas leave a signal of"],
  [{ trained_betas: [0.1, 0.2] }, { name: "ddim" }, "2 trained_betas for 1000 timesteps"],
  [{ beta_schedule: "sigmoid" }, { name: "ddim" }, 'beta_schedule is "sigmoid", supported: linear, scaled_linear'],
  [{ prediction_type: "flow" }, { name: "ddim" }, 'prediction_type is "flow"'],
  [{ rescale_betas_zero_snr: true }, { name: "ddim-trailing" }, "a model must predict v, not epsilon"],
  [{ rescale_betas_zero_snr: true }, { name: "lcm" }, "a model must predict v, not epsilon"],
  [{ _class_name: "DDIMScheduler" }, {}, "clip_sample is true, supported: false"],
  [{ _class_name: "PNDMScheduler" }, {}, "skip_prk_steps is false, supported: true"],
  [{ _class_name: "DDIMScheduler", clip_sample: false, thresholding: true }, {}, "thresholding is true"],
  [{ _class_name: "EulerDiscreteScheduler", use_beta_sigmas: true }, {}, "use_beta_sigmas is true"],
  [
    { _class_name: "EulerDiscreteScheduler", interpolation_type: "log_linear" },
    {},
    'interpolation_type is "log_linear"',
  ],
  [{ _class_name: "EulerDiscreteScheduler", timestep_type: "continuous" }, {}, 'timestep_type is "continuous"'],
  [{ _class_name: "EulerDiscreteScheduler", timestep_spacing: "random" }, {}, 'timestep_spacing is "random"'],
  [{ _class_name: "DPMSolverMultistepScheduler", solver_order: 4 }, {}, "solver_order is 4, supported: 1, 2, 3"],
  [{ _class_name: "DPMSolverMultistepScheduler", use_lu_lambdas: true }, {}, "use_lu_lambdas is true"],
  [
    { _class_name: "DPMSolverMultistepScheduler", algorithm_type: "sde-dpmsolver" },
    {},
    'algorithm_type is "sde-dpmsolver"',
  ],
  [
    { _class_name: "DPMSolverMultistepScheduler", algorithm_type: "sde-dpmsolver++", solver_order: 3 },
    {},
    "solver_order is 3, supported with sde-dpmsolver++: 1, 2",
  ],
  [{ _class_name: "DPMSolverMultistepScheduler", algorithm_type: "dpmsolver" }, {}, "contradict each other"],
  [{ _class_name: "UniPCMultistepScheduler", solver_type: "heun" }, {}, 'solver_type is "heun", supported: bh1, bh2'],
  [{ _class_name: "UniPCMultistepScheduler", use_flow_sigmas: true }, {}, "use_flow_sigmas is true"],
  [{ _class_name: "UniPCMultistepScheduler", predict_x0: false }, {}, "predict_x0 is false"],
  [{ _class_name: "DDPMScheduler", clip_sample: false, variance_type: "learned" }, {}, 'variance_type is "learned"'],
];
for (const [config, options, message] of refused) {
  Deno.test(`refused: ${JSON.stringify(config)} ${JSON.stringify(options)}`, () => {
    assertThrows(() => scheduleFor({ ...training, ...config }, { steps: 5, ...options }), RangeError, message);
  });
}

Deno.test("values of the wrong kind are refused", () => {
  const config = { ...training, beta_start: "0.1" };
  assertThrows(
    () => scheduleFor(config, { steps: 5, name: "ddim" }),
    TypeError,
    "beta_start is of kind string, want number",
  );
  const betas = { trained_betas: 0.1 };
  assertThrows(() => scheduleFor(betas, { steps: 5, name: "ddim" }), TypeError, "trained_betas is of kind number");
});

Deno.test("whatever number a config says, its schedule is finite and small, or refused", () => {
  const numbers = Object.entries(neutral).filter(([, value]) => typeof value === "number").map(([key]) => key);
  const lists = [new Array(1e6).fill(0.1), new Array(1000).fill("0.1"), new Array(1000).fill(null), [1e9], [[[]]]];
  const values = [1e9, 2 ** 53, 1e300, Infinity, -Infinity, -1, 0, 0.5, 1e-300];
  const changes: readonly (readonly [string, unknown])[] = [
    ...[...numbers, "trained_betas"].flatMap((key) => values.map((value) => [key, value] as const)),
    ...lists.map((list) => ["trained_betas", list] as const),
  ];
  const outcomes = { drawn: 0, refused: 0 };
  for (const _class_name of Object.keys(classes)) {
    const supported = { clip_sample: false, skip_prk_steps: true, _class_name };
    for (const spacing of ["linspace", "leading", "trailing"]) {
      for (const [key, value] of [...changes, ["use_karras_sigmas", true], ["use_exponential_sigmas", true]] as const) {
        const config = { ...training, ...supported, timestep_spacing: spacing, [key]: value };
        try {
          const { steps, noiseLevels, initNoiseSigma } = scheduleFor(config, { steps: 10 });
          assert(steps.length <= 20 && Number.isFinite(Math.fround(initNoiseSigma)), `${_class_name} ${key} ${value}`);
          const all = steps.flatMap((
            { timestep, inputScale, transition, image },
          ) => [timestep, inputScale, ...transition.flat(), ...image]);
          const levels = noiseLevels.flatMap(({ signal, noise }) => [signal, noise]);
          assert([...all, ...levels].map(Math.fround).every(Number.isFinite), `${_class_name} ${key} ${value}`);
          outcomes.drawn++;
        } catch (error) {
          if (!(error instanceof Error && /^(Scheduler|Timestep|No finite|LCM|Where no)/.test(error.message))) {
            throw error;
          }
          assert(error.message.length < 400, error.message);
          outcomes.refused++;
        }
      }
    }
  }
  assert(outcomes.drawn > 100 && outcomes.refused > 100, JSON.stringify(outcomes));
});

Deno.test("as many timesteps as are allowed and as many steps take no minutes", () => {
  const config = { ...training, num_train_timesteps: 10_000, _class_name: "EulerDiscreteScheduler" };
  const { steps } = scheduleFor({ ...config, use_karras_sigmas: true }, { steps: 1000 });
  assertEquals(steps.length, 1000);
});

Deno.test("a step that uses noise needs noise", () => {
  const { steps: [step] } = scheduleFor(training, { steps: 5, name: "ddpm" });
  assertThrows(() => runStep(step!, { state: [[1]], output: [1] }), TypeError, "needs noise");
});

Deno.test("a named scheduler takes only training from the model", () => {
  const spaced = {
    ...training,
    timestep_spacing: "trailing",
    steps_offset: 7,
    use_karras_sigmas: true,
    clip_sample: true,
  };
  for (const name of ["ddim", "euler", "dpmpp-2m"]) {
    assertEquals(scheduleFor(spaced, { steps: 5, name }), scheduleFor(training, { steps: 5, name }));
  }
});

Deno.test("keys that a class does not have, and null, change nothing", () => {
  const config = { ...training, _class_name: "EulerAncestralDiscreteScheduler" };
  const leftover = {
    clip_sample: true,
    use_karras_sigmas: true,
    solver_order: 9,
    trained_betas: null,
    steps_offset: null,
  };
  assertEquals(scheduleFor({ ...config, ...leftover }, { steps: 5 }), scheduleFor(config, { steps: 5 }));
});

Deno.test("trained_betas replace the schedule's", () => {
  const betas = Array.from({ length: 1000 }, (_, i) => Math.fround(0.0001 + i * 1e-5));
  const given = scheduleFor({ trained_betas: betas }, { steps: 5, name: "euler" });
  let share = 1;
  for (const beta of betas) share *= 1 - beta;
  assertAlmostEquals(given.noiseLevels[0]!.noise / Math.sqrt((1 - share) / share), 1, 1e-4);
});

Deno.test("linear betas grow linearly", () => {
  const { noiseLevels } = scheduleFor({ ...everyTimestep, beta_start: 0.001, beta_end: 0.011 }, { steps: 1000 });
  const shares = noiseLevels.map(({ signal }) => signal ** 2).reverse();
  for (const timestep of [1, 250, 999]) {
    const beta = 1 - shares[timestep]! / shares[timestep - 1]!;
    assertAlmostEquals(beta, 0.001 + 0.01 * timestep / 999, 1e-5);
  }
});

Deno.test("cosine betas leave a squared cosine of signal", () => {
  const { noiseLevels } = scheduleFor({ ...everyTimestep, beta_schedule: "squaredcos_cap_v2" }, { steps: 1000 });
  const shares = noiseLevels.map(({ signal }) => signal ** 2).reverse();
  for (const timestep of [0, 250, 900]) {
    const time = (timestep + 1) / 1000;
    const want = Math.cos((time + 0.008) / 1.008 * Math.PI / 2) ** 2 / Math.cos(0.008 / 1.008 * Math.PI / 2) ** 2;
    assertAlmostEquals(shares[timestep]! / want, 1, 1e-4);
  }
  assert(shares[999]! > 0);
});

const zeroSnr = { ...training, rescale_betas_zero_snr: true, prediction_type: "v_prediction" };

Deno.test("zero terminal SNR shifts the signal to 0 at the last timestep and keeps it at the first", () => {
  const signals = (config: SchedulerConfig) =>
    scheduleFor({ ...everyTimestep, ...config }, { steps: 1000 }).noiseLevels.map(({ signal }) => signal).reverse();
  const [plain, rescaled] = [signals(training), signals(zeroSnr)];
  assertEquals(rescaled.at(-1), 0);
  // arXiv 2305.08891, algorithm 1; 1000 float32 factors are off by 2^-25 each.
  const [first, last] = [plain[0]!, plain.at(-1)!];
  plain.forEach((signal, timestep) => {
    const want = (signal - last) * first / (first - last);
    assertAlmostEquals(rescaled[timestep]!, want, 1000 * 2 ** -25 * want, `Timestep ${timestep}`);
  });
});

Deno.test("zero terminal SNR leaves samplers over sigmas a signal of 2^-24 of the variance", () => {
  for (const name of ["euler", "euler-ancestral", "dpmpp-2m", "unipc"]) {
    const [{ signal, noise }] = scheduleFor(zeroSnr, { steps: 5, name }).noiseLevels as [NoiseLevel];
    assertAlmostEquals(noise / signal / Math.sqrt(2 ** 24 - 1), 1, 2 ** -24);
  }
});

Deno.test("zero terminal SNR is refused where diffusers' class does not know it", () => {
  const names = ["pndm", "heun", "lms", "dpm2", "dpmpp-2s", "deis"];
  for (const name of names) {
    const words = `Scheduler ${name} cannot start from the pure noise of rescale_betas_zero_snr; choose one of ddim, `;
    assertThrows(() => scheduleFor(zeroSnr, { steps: 5, name }), RangeError, words);
  }
  const config = { ...zeroSnr, _class_name: "PNDMScheduler", skip_prk_steps: true };
  assertThrows(() => scheduleFor(config, { steps: 5 }), RangeError, "Scheduler PNDMScheduler cannot start");
  for (const name of schedulerNames().filter((name) => !names.includes(name))) scheduleFor(zeroSnr, { steps: 5, name });
});

Deno.test("the prediction that is asked for goes before the model's own, with and without a name", () => {
  const config = { ...training, _class_name: "EulerDiscreteScheduler" };
  const velocity = { ...config, prediction_type: "v_prediction" };
  for (const options of [{ steps: 5 }, { steps: 5, name: "ddim" }]) {
    const [noise, v] = [scheduleFor(config, options), scheduleFor(velocity, options)];
    assert(JSON.stringify(noise) !== JSON.stringify(v));
    assertEquals(scheduleFor(config, { ...options, prediction: "v" }), v);
    assertEquals(scheduleFor(velocity, { ...options, prediction: "epsilon" }), noise);
  }
});

Deno.test("exponential sigmas are a geometric series between the bounds given", () => {
  const config = { ...training, use_exponential_sigmas: true, sigma_min: 0.1, sigma_max: 10 };
  const { noiseLevels } = scheduleFor({ ...config, _class_name: "EulerDiscreteScheduler" }, { steps: 5 });
  noiseLevels.forEach(({ noise }, i) => assertAlmostEquals(Math.log10(noise), 1 - i / 2, 1e-7));
});

Deno.test("lambda_min_clipped leaves the noisiest timesteps out", () => {
  const config = { ...training, _class_name: "DPMSolverMultistepScheduler", lambda_min_clipped: 0 };
  const [{ signal, noise }] = scheduleFor(config, { steps: 5 }).noiseLevels as [{ signal: number; noise: number }];
  assert(signal >= noise && signal < 1.01 * noise);
});

Deno.test("leading spacing starts k-diffusion's samplers at the root of sigma^2 + 1", () => {
  const config = { ...training, _class_name: "EulerDiscreteScheduler", timestep_spacing: "leading", steps_offset: 1 };
  const { initNoiseSigma, noiseLevels, steps } = scheduleFor(config, { steps: 4 });
  assertEquals(steps.map(({ timestep }) => timestep), [751, 501, 251, 1]);
  assertAlmostEquals(initNoiseSigma, Math.hypot(noiseLevels[0]!.noise, 1), 1e-12);
});

Deno.test("trailing spacing has as many timesteps as steps", () => {
  for (const steps of [7, 61, 122, 999]) {
    const { steps: { length }, noiseLevels } = scheduleFor(training, { steps, name: "ddim-trailing" });
    assertEquals(length, steps);
    assert(noiseLevels.every(({ signal }, i) => i === 0 || signal > noiseLevels[i - 1]!.signal));
  }
});

Deno.test("strength leaves steps out as diffusers does", () => {
  const table = [[10, 1, 0], [10, 0.6, 4], [20, 0.55, 9], [3, 0.5, 2], [10, 0, 10], [10, 2, 0]] as const;
  for (const [steps, strength, skipped] of table) assertEquals(skippedSteps(steps, strength), skipped);
});
