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
    const image = level.signal * VARIANCE * sample / deviations[i]! ** 2;
    const epsilon = level.noise * sample / deviations[i]! ** 2;
    const velocity = (level.signal * epsilon - level.noise * image) / Math.hypot(level.signal, level.noise);
    const outputs = new Map<unknown, number>([["v_prediction", velocity], ["sample", image]]);
    const output = [outputs.get(config.prediction_type) ?? epsilon];
    state = runStep(step, { state, output, noise: [noise] });
    return sample / deviations[i]!;
  });
  return [...samples, state[0]![0]! / Math.sqrt(VARIANCE)];
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

  Deno.test(`${name}: the UNet's input has the unit variance that it was trained on`, () => {
    const { steps, noiseLevels } = scheduleFor(training, { steps: 7, name });
    steps.forEach(({ inputScale }, i) => {
      const { signal, noise } = noiseLevels[i]!;
      assertAlmostEquals(inputScale * Math.hypot(signal, noise), 1, 2 ** -24);
    });
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

/** The order of accuracy: twice as many steps divide the distance from the exact path, half way, by 2 to this power. */
function orderOf(config: SchedulerConfig, lateName?: string): number {
  const [coarse, fine] = [80, 160].map((steps) => {
    // An odd step, with which a singlestep solver does not begin otherwise.
    const start = lateName === undefined ? 0 : 0.4 * steps + 1;
    return Math.abs(run(config, { steps, start, ...(lateName && { name: lateName }) }).at(-1 - steps / 2)! - 1);
  }) as [number, number];
  return Math.log2(coarse / fine);
}

// [name, order]. A late run has no history at first: one step of first order makes a run of second order, to which
// UniPC's corrector adds one. PNDM takes its first step twice, as in diffusers, but only a whole run has that timestep
// twice: a late one stays a step behind.
const lateRuns = [
  ["pndm", 1],
  ["lms", 2],
  ["dpmpp-2m", 2],
  ["dpmpp-2m-karras", 2],
  ["dpmpp-2s", 2],
  ["unipc", 3],
  ["deis", 2],
] as const;
for (const [name, order] of lateRuns) {
  Deno.test(`${name}: a run that starts late builds its history up and is of order ${order}`, () => {
    assertAlmostEquals(orderOf({}, name), order, 1 / 4);
  });
}

// [class, settings, order]. UniPC's corrector adds one. DPM-Solver's third order, as diffusers has it, is second order.
const variants = [
  ["DPMSolverMultistep", { solver_order: 1 }, 1],
  ["DPMSolverMultistep", { solver_order: 2 }, 2],
  ["DPMSolverMultistep", { solver_order: 2, solver_type: "heun" }, 2],
  ["DPMSolverMultistep", { solver_order: 3 }, 2],
  ["DPMSolverMultistep", { solver_order: 1, algorithm_type: "dpmsolver" }, 1],
  ["DPMSolverMultistep", { solver_order: 2, algorithm_type: "dpmsolver" }, 2],
  ["DPMSolverMultistep", { solver_order: 2, algorithm_type: "dpmsolver", solver_type: "heun" }, 2],
  ["DPMSolverMultistep", { solver_order: 3, algorithm_type: "dpmsolver" }, 2],
  ["DPMSolverSinglestep", { solver_order: 1 }, 1],
  ["DPMSolverSinglestep", { solver_order: 2, solver_type: "heun" }, 2],
  ["DPMSolverSinglestep", { solver_order: 2, algorithm_type: "dpmsolver" }, 2],
  ["UniPCMultistep", { solver_order: 1 }, 2],
  ["UniPCMultistep", { solver_order: 2, solver_type: "bh1" }, 3],
  ["DEISMultistep", { solver_order: 3 }, 3],
  ["EulerDiscrete", {}, 1],
] as const;
for (const [solver, settings, order] of variants) {
  Deno.test(`${solver} ${JSON.stringify(settings)} follows the exact path with order ${order}`, () => {
    // Sigmas of equal ratio, nearly; the last step, to the sigma that it starts from, is of first order.
    const spacing = { use_karras_sigmas: true, final_sigmas_type: "sigma_min", euler_at_final: true };
    assertAlmostEquals(orderOf({ _class_name: `${solver}Scheduler`, ...spacing, ...settings }), order, 1 / 4);
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
