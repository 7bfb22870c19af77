import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { createNoiseSource } from "../../../pipeline/random/mod.ts";
import { initialState, runStep, type Schedule, scheduleFor, schedulerNames } from "../../../pipeline/schedulers/mod.ts";
import { readGolden } from "../../golden.ts";

interface Case {
  readonly timesteps: readonly number[];
  readonly sigmas: readonly number[] | null;
  readonly init_noise_sigma: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly class: string;
  readonly addnoise_t?: number;
}

function readCases(name: string): { readonly seed: number; readonly cases: Readonly<Record<string, Case>> } {
  const text = Deno.readTextFileSync(new URL(`../../../fixtures/schedulers/${name}`, import.meta.url));
  // Python writes -Infinity, which is not JSON; it stands for the default of the one key that has it.
  return JSON.parse(text.replaceAll("-Infinity", "null"));
}

const { seed, cases } = readCases("cases.json");
const trajectories = readGolden("fixtures/schedulers/trajectories.safetensors");
const zeroSnr = readCases("zero_snr.json");
const zeroSnrTrajectories = readGolden("fixtures/schedulers/zero_snr.safetensors");

/** A latent of 4 x 8 x 8. */
const ELEMENTS = 256;

/** The `fake_model` of the fixture. */
function fakeModel(x: ArrayLike<number>, timestep: number): Float64Array {
  return Float64Array.from(x, (value, i) => {
    return 0.6 * Math.tanh(value) * Math.cos(timestep / 700) + 0.3 * Math.sin(0.37 * i + 0.01 * timestep);
  });
}

/** The latents before each evaluation and after the last. */
function run(schedule: Schedule): ArrayLike<number>[] {
  const source = createNoiseSource("cpu", BigInt(seed));
  let state = initialState(schedule, source.normal(ELEMENTS).map((value) => value * schedule.initNoiseSigma));
  const latents = [state[0]!];
  for (const step of schedule.steps) {
    const input = Float64Array.from(state[0]!, (value) => value * step.inputScale);
    const output = fakeModel(input, step.timestep);
    state = runStep(step, { state, output, ...(step.usesNoise && { noise: source.normal(ELEMENTS) }) });
    latents.push(state[0]!);
  }
  return latents;
}

/** Root of the mean square of `a - b`. */
function deviation(a: ArrayLike<number>, b: Float32Array): number {
  return Math.sqrt(b.reduce((sum, want, i) => sum + (a[i]! - want) ** 2, 0) / b.length);
}

const zeros = new Float32Array(ELEMENTS);

function assertFollows(schedule: Schedule, wanted: Case, { golden, rounding = 0 }: {
  /** Every latent, one after the other. */
  readonly golden: Float32Array;
  /** What a float32 latent of diffusers may be off by beside 3e-6 of it. */
  readonly rounding?: number;
}): void {
  assertEquals(schedule.initNoiseSigma, wanted.init_noise_sigma);
  assertEquals(schedule.steps.length, wanted.timesteps.length);
  schedule.steps.forEach(({ timestep }, i) => {
    // A timestep between two others goes through numpy's float32 logarithm, which is not correctly rounded: it may
    // differ by the last bit of a number near 1000.
    assertAlmostEquals(timestep, wanted.timesteps[i]!, Number.isInteger(wanted.timesteps[i]) ? 0 : 2 ** -14);
  });
  // diffusers lists the sigma between two steps of KDPM2 elsewhere.
  const stride = wanted.class === "KDPM2DiscreteScheduler" ? 2 : 1;
  for (let i = 0; wanted.sigmas !== null && i < schedule.steps.length; i += stride) {
    const { signal, noise } = schedule.noiseLevels[i]!;
    assertAlmostEquals(noise / signal / wanted.sigmas[i]!, 1, 1e-15);
  }
  run(schedule).forEach((latent, i) => {
    const want = golden.subarray(i * ELEMENTS, (i + 1) * ELEMENTS);
    const [error, allowed] = [deviation(latent, want), 3e-6 * deviation(zeros, want) + rounding];
    assert(error <= allowed, `Latent ${i} differs by ${error}, allowed ${allowed}`);
  });
}

Deno.test("every name has golden data", () => {
  const golden = Object.keys(cases).map((key) => key.split(".")[0]!);
  assertEquals([...schedulerNames()].sort(), [...new Set(golden)].sort());
});

for (const [key, wanted] of Object.entries(cases)) {
  const [name, , steps] = key.split(".");
  const config = { ...wanted.config, _class_name: wanted.class };
  const schedule = scheduleFor(config, { steps: Number(steps), name });

  Deno.test(`${key}: timesteps, sigmas and every latent equal diffusers'`, () => {
    assertFollows(schedule, wanted, { golden: trajectories.get(key)!.data });
  });

  Deno.test(`${key}: the class alone gives the same schedule as the name`, () => {
    assertEquals(scheduleFor(config, { steps: Number(steps) }), schedule);
  });

  if (wanted.addnoise_t === undefined) continue;
  Deno.test(`${key}: the noise level equals that of add_noise`, () => {
    const index = schedule.steps.findIndex(({ timestep }) => Math.abs(timestep - wanted.addnoise_t!) < 2 ** -14);
    const { signal, noise } = schedule.noiseLevels[index]!;
    const start = createNoiseSource("cpu", BigInt(seed)).normal(ELEMENTS);
    const noised = start.map((value) => signal * value * schedule.initNoiseSigma + noise * 0.5);
    const want = trajectories.get(`${key}.addnoise`)!.data;
    assert(deviation(noised, want) <= 1e-6 * deviation(zeros, want));
  });
}

for (const [key, wanted] of Object.entries(zeroSnr.cases)) {
  Deno.test(`zero terminal SNR, ${key}: timesteps, sigmas and every latent equal diffusers'`, () => {
    const schedule = scheduleFor({ ...wanted.config, _class_name: wanted.class }, { steps: wanted.timesteps.length });
    // The first step subtracts and adds samples of the size of the first sigma, and float32 rounds both to 2^-24 of it.
    const rounding = 2 * 2 ** -24 * schedule.initNoiseSigma;
    assertFollows(schedule, wanted, { golden: zeroSnrTrajectories.get(key)!.data, rounding });
  });
}
