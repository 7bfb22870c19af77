import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  initialState,
  MAX_SLOTS,
  runStep,
  scheduleFor,
  type SchedulerConfig,
  schedulerNames,
} from "../../../pipeline/schedulers/mod.ts";

/** What Stable Diffusion 1.x was trained with. */
const training = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };

/** Variance of the data: a normal distribution, of which the best prediction and the exact path are known. */
const VARIANCE = 0.25;

interface Run {
  readonly steps: number;
  readonly start?: number;
  readonly name?: string;
  /** The normal number of every step that draws one. */
  readonly noise?: number;
}

/** The samples of a run that starts one standard deviation from the mean, over that of the data at each step. */
function run(config: SchedulerConfig, { steps, start, name, noise = 0 }: Run): number[] {
  const schedule = scheduleFor({ ...training, ...config }, { steps, start, name });
  const deviations = schedule.noiseLevels.map(({ signal, noise }) => Math.sqrt(signal ** 2 * VARIANCE + noise ** 2));
  let state = initialState(schedule, [deviations[0]!]);
  const samples = schedule.steps.map((step, i) => {
    const level = schedule.noiseLevels[i]!;
    const sample = state[0]![0]!;
    const epsilon = level.noise * sample / deviations[i]! ** 2;
    const image = (sample - level.noise * epsilon) / level.signal;
    const velocity = (level.signal * epsilon - level.noise * image) / Math.hypot(level.signal, level.noise);
    const outputs = new Map<unknown, number>([["v_prediction", velocity], ["sample", image]]);
    const output = [outputs.get(config.prediction_type) ?? epsilon];
    state = runStep(step, { state, output, noise: [noise] });
    return sample / deviations[i]!;
  });
  return [...samples, state[0]![0]! / Math.sqrt(VARIANCE)];
}

/** How far a run has left the exact path, which stays at one standard deviation, when the last step begins. */
function pathError(config: SchedulerConfig, options: Run): number {
  return Math.abs(run(config, options).at(-2)! - 1);
}

for (const name of schedulerNames()) {
  Deno.test(`${name}: the state fits, and steps have a row for each slot`, () => {
    const { slots, steps, noiseLevels } = scheduleFor(training, { steps: 7, name });
    assert(slots <= MAX_SLOTS);
    assertEquals(noiseLevels.length, steps.length);
    for (const { transition } of steps) {
      assertEquals(transition.map((row) => row.length), Array(slots).fill(slots + 2));
    }
  });

  Deno.test(`${name}: any number of steps from 1 is possible`, () => {
    for (const steps of [1, 2, 3, 50]) {
      assert(run({}, { steps, name }).every(Number.isFinite), `${steps} steps`);
    }
  });
}

// PNDM blends outputs before it takes them apart.
for (const name of schedulerNames().filter((name) => name !== "pndm")) {
  Deno.test(`${name}: what the model predicts does not change the path`, () => {
    const want = run({}, { steps: 20, name, noise: 0.5 });
    for (const prediction_type of ["v_prediction", "sample"]) {
      const path = run({ prediction_type }, { steps: 20, name, noise: 0.5 });
      path.forEach((sample, i) => assertAlmostEquals(sample, want[i]!, 1e-9));
    }
  });
}

const one = ["ddim", "ddim-trailing", "euler", "euler-karras", "euler-trailing", "euler-ancestral", "lcm", "ddpm"];
for (const name of [...one, "heun", "dpm2"]) {
  Deno.test(`${name}: a run that starts late is the rest of a whole run`, () => {
    const whole = scheduleFor(training, { steps: 10, name });
    const late = scheduleFor(training, { steps: 10, name, start: 4 });
    const skipped = one.includes(name) ? 4 : 8;
    assertEquals(late.steps, whole.steps.slice(skipped));
    assertEquals(late.noiseLevels, whole.noiseLevels.slice(skipped));
  });
}

// [name, allowed error]: the measured error and a third more.
const lateRuns = [
  ["pndm", 0.0041],
  ["lms", 0.00032],
  ["dpmpp-2m", 0.005],
  ["dpmpp-2m-karras", 0.0025],
  ["dpmpp-2s", 0.011],
  ["unipc", 0.0037],
  ["deis", 0.00056],
] as const;
for (const [name, allowed] of lateRuns) {
  Deno.test(`${name}: a run that starts late builds its history up and arrives`, () => {
    const error = pathError({}, { steps: 50, start: 20, name });
    assert(error <= allowed, `Off by ${error}`);
  });
}

// [class, settings, allowed error of 100 steps]: the measured error and a third more.
const variants = [
  ["DPMSolverMultistep", { solver_order: 1 }, 0.023],
  ["DPMSolverMultistep", { solver_order: 2, solver_type: "heun" }, 0.0037],
  ["DPMSolverMultistep", { solver_order: 3 }, 0.00028],
  ["DPMSolverMultistep", { solver_order: 1, algorithm_type: "dpmsolver" }, 0.023],
  ["DPMSolverMultistep", { solver_order: 2, algorithm_type: "dpmsolver" }, 0.0015],
  ["DPMSolverMultistep", { solver_order: 2, algorithm_type: "dpmsolver", solver_type: "heun" }, 0.00092],
  ["DPMSolverMultistep", { solver_order: 3, algorithm_type: "dpmsolver" }, 0.00027],
  ["DPMSolverSinglestep", { solver_order: 1 }, 0.023],
  ["DPMSolverSinglestep", { solver_order: 2, solver_type: "heun" }, 0.004],
  ["DPMSolverSinglestep", { solver_order: 2, algorithm_type: "dpmsolver" }, 0.002],
  ["UniPCMultistep", { solver_order: 1 }, 0.006],
  ["UniPCMultistep", { solver_order: 2, solver_type: "bh1" }, 0.0031],
  ["DEISMultistep", { solver_order: 3 }, 3.8e-05],
] as const;
for (const [solver, settings, allowed] of variants) {
  Deno.test(`${solver} ${JSON.stringify(settings)} follows the exact path`, () => {
    const config = { _class_name: `${solver}Scheduler`, final_sigmas_type: "sigma_min", ...settings };
    const error = pathError(config, { steps: 100 });
    assert(error <= allowed, `Off by ${error}`);
  });
}

Deno.test("ddim with eta 1 is ddpm", () => {
  const fresh = scheduleFor(training, { steps: 20, name: "ddim", eta: 1 }).steps;
  const ddpm = scheduleFor(training, { steps: 20, name: "ddpm" }).steps;
  // The last step differs: ddim ends at timestep 0, ddpm at the image.
  fresh.slice(0, -1).forEach((step, i) => {
    assertEquals(step.usesNoise, ddpm[i]!.usesNoise);
    step.transition[0]!.forEach((factor, k) => assertAlmostEquals(factor, ddpm[i]!.transition[0]![k]!, 1e-12));
  });
});
