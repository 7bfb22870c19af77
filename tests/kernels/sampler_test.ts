import { assertEquals } from "@std/assert";
import { advance } from "../../kernels/advance.ts";
import type { NumberArray } from "../../kernels/reference/array.ts";
import { initialState, runStep, type Schedule, scheduleFor } from "../../pipeline/schedulers/mod.ts";
import { assertClose, type Bench, EPSILON, random, testBackends } from "./harness.ts";

/** What Stable Diffusion 1.x was trained with. */
const TRAINING = {
  num_train_timesteps: 1000,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  prediction_type: "epsilon",
};

/** From one slot of state to four, with noise and without. */
const SCHEDULERS = ["ddim", "euler-ancestral", "dpmpp-2m", "dpmpp-2m-sde", "heun", "unipc", "pndm"];

/** `[batch, channels, height, width]`; a batch of two is guided. */
type PredictionShape = readonly [batch: number, channels: number, height: number, width: number];

const SHAPES: readonly PredictionShape[] = [
  [1, 4, 1, 1],
  [2, 4, 1, 1],
  [1, 3, 5, 7],
  [2, 5, 3, 3],
  [2, 8, 4, 9],
  [2, 4, 16, 16], // tiny-sd1.
  [1, 4, 130, 130], // More columns than a texture is wide.
];

const GUIDANCE = 7.5;

/** What an inpainting step keeps: the mask, the original and its noise. */
type Kept = readonly [mask: NumberArray, original: NumberArray, noise: NumberArray];

/** A mask of both values, one between them, and what lies under it. */
function keptOf(shape: readonly [channels: number, height: number, width: number]): Kept {
  const mask = random(50, 1, ...shape);
  const values = mask.values.map((value, i) => i % 5 === 0 ? 0.25 : value > 0 ? 1 : 0);
  return [{ ...mask, values }, random(51, 1, ...shape), random(52, 1, ...shape)];
}

/** How noisy the original is behind step `i`. */
function levelBehind({ noiseLevels }: Schedule, i: number) {
  return noiseLevels[i + 1] ?? { signal: 1, noise: 0 };
}

/** What steps are run on. */
interface Run {
  readonly start: NumberArray;
  readonly kept?: Kept | undefined;
  readonly predictions: readonly NumberArray[];
}

/** Records a step and its counter, runs them once for each prediction and reads what they leave. */
async function runSteps(bench: Bench, schedule: Schedule, { start, kept, predictions }: Run) {
  const { ops } = bench;
  const { batch, ...shape } = predictions[0]!;
  const pixels = shape.height * shape.width;
  const matrix = {
    layout: ops.backend.layout(shape.channels, 1, pixels, true),
    rows: shape.channels,
    batch: 1,
    pixels,
  };
  const encode = (values: ArrayLike<number>) => ops.backend.encode(matrix, Float32Array.from(values));
  const { slots } = schedule;
  const elements = encode(start.values).length;
  const [state, noise] = [ops.buffer(slots * elements, "state"), ops.buffer(elements, "noise")];
  const original = kept && ops.buffer(3 * elements, "original");
  const coefficients = ops.buffer(schedule.steps.length * (2 + slots * (slots + 2) + (kept ? 2 : 0)), "coefficients");
  const step = ops.buffer(1, "step", "u32");
  const prediction = bench.tensor(predictions[0]!);
  const input = ops.keep({ batch, ...shape }, "input");
  const rows = schedule.steps.flatMap(({ transition }, i) => [
    schedule.steps[i + 1]?.inputScale ?? 1,
    GUIDANCE,
    ...transition.flat(),
    ...(kept ? [levelBehind(schedule, i).signal, levelBehind(schedule, i).noise] : []),
  ]);
  ops.gpu.write(coefficients, Float32Array.from(rows));
  const states = new Float32Array(slots * elements);
  states.set(encode(start.values));
  ops.gpu.write(state, states);
  ops.gpu.write(step, new Uint32Array(1));
  if (original) {
    const values = new Float32Array(3 * elements);
    kept.forEach((latent, i) => values.set(encode(latent.values), i * elements));
    ops.gpu.write(original, values);
  }
  const spec = { prediction, input, state, noise, coefficients, step, slots, ...(original && { original }) };
  const inputs: NumberArray[] = [];
  for (const [i, values] of predictions.entries()) {
    ops.write(prediction, Float32Array.from(values.values));
    ops.gpu.write(noise, encode(random(100 + i, 1, shape.channels, shape.height, shape.width).values));
    inputs.push(
      await bench.run(() => {
        ops.launch(ops.backend.sample(spec), advance(step));
        return input;
      }),
    );
  }
  return { inputs, steps: new Uint32Array((await ops.gpu.read(step)).buffer)[0] };
}

/** The same in float64: the inputs of the UNet, and the largest number that was added up. */
function referenceSteps(schedule: Schedule, { start, kept, predictions }: Run) {
  const { batch, channels, height, width } = predictions[0]!;
  const count = start.values.length;
  let state = initialState(schedule, start.values);
  let most = 0;
  const inputs = predictions.map(({ values }, i) => {
    const output = Float64Array.from({ length: count }, (_, at) => {
      const unconditional = values[at]!;
      return batch === 1 ? unconditional : unconditional + GUIDANCE * (values[count + at]! - unconditional);
    });
    const noise = random(100 + i, 1, channels, height, width).values;
    const step = schedule.steps[i]!;
    const columns = [...state, output, noise].map((column) =>
      Array.from(column).reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    );
    for (const row of step.transition) most = Math.max(most, ...row.map((factor, c) => Math.abs(factor) * columns[c]!));
    state = runStep(step, { state, output, noise });
    if (kept) {
      const [mask, original, noise] = kept.map(({ values }) => values) as [Float64Array, Float64Array, Float64Array];
      const level = levelBehind(schedule, i);
      const masked = Float64Array.from(state[0]!, (drawn, at) => {
        const known = level.signal * original[at]! + level.noise * noise[at]!;
        return mask[at]! * drawn + (1 - mask[at]!) * known;
      });
      state = [masked, ...state.slice(1)];
    }
    const scale = schedule.steps[i + 1]?.inputScale ?? 1;
    const once = Array.from(state[0]!, (value) => value * scale);
    return { batch, channels, height, width, values: Float64Array.from(batch === 1 ? once : [...once, ...once]) };
  });
  return { inputs, most };
}

async function compare(
  bench: Bench,
  name: string,
  [batch, ...shape]: PredictionShape,
  kept?: Kept,
): Promise<void> {
  const schedule = scheduleFor(TRAINING, { name, steps: 4 });
  const normal = random(1, 1, ...shape);
  const start = { ...normal, values: normal.values.map((value) => Math.fround(value * schedule.initNoiseSigma)) };
  const predictions = schedule.steps.map((_, i) => random(10 + i, batch, ...shape));
  const want = referenceSteps(schedule, { start, kept, predictions });
  const got = await runSteps(bench, schedule, { start, kept, predictions });
  // Every step rounds its coefficients and the sums of guidance and of slots + 2 terms, and passes on the error it was given.
  const perStep = 2 * EPSILON * (schedule.slots + 4) * want.most;
  got.inputs.forEach((input, i) =>
    assertClose(input, want.inputs[i]!, (i + 1) * perStep, `input ${i + 1} of the UNet`)
  );
  assertEquals(got.steps, schedule.steps.length);
}

testBackends("the sampler's step equals the schedule's equations", async (bench, t) => {
  for (const name of SCHEDULERS) await t.step(name, () => compare(bench, name, [2, 4, 5, 7]));
});

testBackends("the sampler's step runs any shape", async (bench, t) => {
  for (const shape of SHAPES) await t.step(`${shape}`, () => compare(bench, "dpmpp-2m-sde", shape));
});

testBackends("an inpainting step keeps the original outside of its mask, as noisy as the sample", async (bench, t) => {
  for (const name of SCHEDULERS) await t.step(name, () => compare(bench, name, [2, 4, 5, 7], keptOf([4, 5, 7])));
  for (const [batch, ...shape] of SHAPES) {
    await t.step(`${batch},${shape}`, () => compare(bench, "dpmpp-2m-sde", [batch, ...shape], keptOf(shape)));
  }
});
