/**
 * The denoising loop: a net's step and the sampler's recorded once and replayed, which steps are submitted when, when
 * they are waited for, and what is looked at between. It knows no net.
 * @module
 */
import { firstSample, type Gpu, type Ops, type Program, type Tensor } from "../kernels/mod.ts";
import {
  advance,
  recurrence,
  recurrenceNumbers,
  type RecurrenceStep,
  recurrenceTable,
  spreadFactor,
} from "../kernels/recurrence.ts";
import { type Conditions, type Net, type Run, usedControls } from "./families/family.ts";
import type { ControlNetWeights } from "./nets/controlnet.ts";
import { estimateImage } from "./preview.ts";
import type { NoiseSource } from "./random/mod.ts";
import type { Image, StepEvent } from "./request.ts";
import type { Schedule } from "./schedulers/schedule.ts";

/** What a loop is recorded for; requests that agree in it share one. */
export interface LoopShape extends Run {
  readonly channels: number;
  /** Slots of the sampler's state. */
  readonly slots: number;
  /** Whether steps keep parts of an original. */
  readonly masked: boolean;
  /** Whether guided predictions get back some of the conditional one's spread. */
  readonly rescaled: boolean;
}

/** What a masked loop keeps; each `[channels, height, width]`. */
export interface Original {
  /** 1 where the picture is made, 0 where it is kept. */
  readonly mask: Float32Array;
  readonly sample: Float32Array;
  /** The noise that is added to it, the same in each step. */
  readonly noise: Float32Array;
}

export interface Start {
  /** `[channels, height, width]`. */
  readonly sample: Float32Array;
  readonly guidance: number;
  /** See {@link Request.guidanceRescale}. */
  readonly guidanceRescale: number;
  /** Multiplies the last latent. */
  readonly finalScale: number;
  readonly original?: Original;
}

export interface Loop {
  readonly shape: LoopShape;
  /** After the last step the latent, scaled as {@link Start.finalScale} asks. */
  readonly latent: Tensor;
  readonly elements: number;
  readonly conditions: Conditions;
  /** The program of each step; steps with the same ControlNets share one. */
  readonly steppings: readonly Program[];
  /** Sets the sampler's start. */
  start(schedule: Schedule, start: Start): void;
  /** Submits the next step, with its fresh noise if it uses any. */
  step(noise?: Float32Array): void;
  /** The sampler's current sample `[channels, height, width]`. */
  sample(): Promise<Float32Array>;
  /** All slots of the sampler's current state, the sample first. */
  state(): Promise<readonly Float32Array[]>;
  dispose(): void;
}

/**
 * Records the loop of `shape` around `net`, and the ControlNets that its steps count, after timing which kernels suit it
 * where that is not known.
 */
export async function recordLoop(
  ops: Ops,
  net: Net,
  shape: LoopShape,
  controlNets?: readonly ControlNetWeights[],
): Promise<Loop> {
  const { samples: batch, channels, height, width, evaluations, slots, masked, rescaled, controls = [] } = shape;
  const input = ops.keep({ batch, channels, height, width }, "latent");
  const step = ops.buffer(1, "step", "u32");
  const layout = ops.backend.layout(channels, 1, height * width, true);
  const matrix = { layout, rows: channels, batch: 1, pixels: height * width };
  const encode = (values: Float32Array) => ops.backend.encode(matrix, values);
  const elements = channels * height * width;
  const padded = encode(new Float32Array(elements)).length;
  const state = ops.buffer(slots * padded, "sampler state");
  const noise = ops.buffer(padded, "noise");
  const original = masked ? ops.buffer(3 * padded, "original") : undefined;
  const numbers = { count: slots, masked, spread: rescaled };
  const table = ops.buffer(evaluations * recurrenceNumbers(numbers), "sampler coefficients");
  const factor = rescaled ? ops.buffer(1, "guidance factor") : undefined;

  const conditions = await net.condition(ops, shape, step, controlNets);
  await ops.tune(() => conditions.predict(input, usedControls(shape)));
  const record = (active: readonly number[]) =>
    ops.record(() => {
      const prediction = conditions.predict(input, active);
      const sampler = { x: prediction, out: input, states: state, count: slots, noise, table, step };
      if (factor) ops.launch(spreadFactor(ops.backend, { ...sampler, factor, shape: numbers }));
      ops.launch(
        recurrence(ops.backend, { ...sampler, ...(original && { masked: original }), ...(factor && { factor }) }),
      );
      ops.launch(advance(step));
    });
  const programs = new Map<string, Program>();
  const steppings = Array.from({ length: evaluations }, (_, i) => {
    const active = controls[i] ?? [];
    const program = programs.get(`${active}`) ?? record(active);
    programs.set(`${active}`, program);
    return program;
  });
  let next = 0;

  const readSlots = async (count: number) => {
    const values = await ops.gpu.read(state);
    return Array.from({ length: count }, (_, i) => {
      return ops.backend.decode(matrix, values.subarray(i * padded, (i + 1) * padded));
    });
  };

  return {
    shape,
    latent: firstSample(input),
    elements,
    conditions,
    steppings,
    start(schedule, start) {
      const { sample, original: kept } = start;
      ops.gpu.write(table, recurrenceTable(stepsOf(schedule, start, shape)));
      if (original && kept) {
        const latents = new Float32Array(3 * padded);
        [kept.mask, kept.sample, kept.noise].forEach((values, i) => latents.set(encode(values), i * padded));
        ops.gpu.write(original, latents);
      }
      ops.gpu.write(step, new Uint32Array(1));
      next = 0;
      const states = new Float32Array(slots * padded);
      states.set(encode(sample));
      ops.gpu.write(state, states);
      const scaled = sample.map((value) => value * schedule.steps[0]!.inputScale);
      const inputs = new Float32Array(batch * elements);
      for (let i = 0; i < batch; i++) inputs.set(scaled, i * elements);
      ops.write(input, inputs);
    },
    step(values) {
      if (values) ops.gpu.write(noise, encode(values));
      steppings[next++]!.run();
    },
    async sample() {
      return (await readSlots(1))[0]!;
    },
    state: () => readSlots(slots),
    dispose() {
      conditions.dispose();
      for (const program of programs.values()) program.dispose();
      for (const memory of [input.memory, step, state, noise, table, original, factor]) {
        if (memory) ops.gpu.free(memory);
      }
    },
  };
}

function stepsOf(
  { steps, noiseLevels }: Schedule,
  { guidance, guidanceRescale, finalScale }: Start,
  { masked, rescaled }: LoopShape,
): readonly RecurrenceStep[] {
  return steps.map(({ transition }, i) => {
    // What is kept is as noisy as what the next step takes, and clean after the last.
    const { signal, noise } = noiseLevels[i + 1] ?? { signal: 1, noise: 0 };
    return {
      scale: steps[i + 1]?.inputScale ?? finalScale,
      mix: guidance,
      transition,
      ...(masked && { masked: [signal, noise] as const }),
      ...(rescaled && { spread: guidanceRescale }),
    };
  });
}

export interface Steps {
  readonly gpu: Gpu;
  /** At the sampler's start. */
  readonly loop: Loop;
  readonly schedule: Schedule;
  /** Where fresh noise comes from. */
  readonly noise: NoiseSource;
  /** Steps from one latent to the next, which are shown after the last step, too; 0 shows none. */
  readonly latentEvery: number;
  readonly previewEvery: number;
  /** Makes a preview of a clean latent `[channels, height, width]`. */
  readonly draw: (latent: Float32Array) => Image | Promise<Image>;
  /** Called once, while the GPU has steps to run. */
  readonly meanwhile?: () => Promise<void>;
}

/**
 * Milliseconds of steps that are submitted before they are waited for: while Deno wakes up from a wait and the next step
 * is encoded, the GPU stands still (4 ms of 42 on an H100), and nobody needs to see more than five steps a second.
 */
const UNSEEN_MILLISECONDS = 200;

/**
 * Runs all steps of a schedule; an event for each, several at once where steps are short, with the latent
 * `[channels, height, width]` and the preview where they were asked for.
 *
 * @throws {GpuFailedError | GpuMemoryError} when the GPU fails.
 */
export async function* runSteps(run: Steps): AsyncGenerator<StepEvent & { readonly latent?: Float32Array }> {
  const { gpu, loop, schedule, noise, latentEvery, previewEvery, draw, meanwhile } = run;
  const steps = schedule.steps.length;
  const isDue = (done: number, every: number) => every > 0 && done > 0 && (done % every === 0 || done === steps);
  // A preview is made of the states before and after its step.
  const isRead = (done: number) =>
    isDue(done, latentEvery) || isDue(done, previewEvery) || isDue(done + 1, previewEvery);
  let submitted = 0;
  /** What the step that was submitted last draws. */
  let fresh: Float32Array | undefined;
  /** Submits steps of about {@link UNSEEN_MILLISECONDS}, up to where the state is read; returns how many. */
  const submit = (milliseconds: number): number => {
    const first = submitted;
    const end = Math.min(steps, first + Math.max(1, Math.floor(UNSEEN_MILLISECONDS / milliseconds)));
    while (submitted < end && (submitted === first || !isRead(submitted))) {
      fresh = schedule.steps[submitted++]!.usesNoise ? noise.normal(loop.elements) : undefined;
      loop.step(fresh);
    }
    return submitted - first;
  };
  const preview = (before: readonly Float32Array[], after: Float32Array) => {
    return draw(estimateImage(schedule.steps[submitted - 1]!, { before, after, noise: fresh }));
  };

  let state = isRead(0) ? await loop.state() : [];
  let previous = performance.now();
  let milliseconds = Infinity;
  for (let running = submit(milliseconds), done = 0; running > 0;) {
    // The next steps are submitted before these are waited for, so that the GPU always has some.
    const finished = gpu.finish();
    const shown = isRead(submitted);
    let next = shown ? 0 : submit(milliseconds);
    const [now] = await Promise.all([finished, done === 0 && meanwhile?.()]);
    milliseconds = (now - previous) / running;
    done += running;
    const before = state;
    if (shown) state = await loop.state();
    const last = {
      ...(isDue(done, latentEvery) && { latent: state[0]! }),
      ...(isDue(done, previewEvery) && { preview: await preview(before, state[0]!) }),
    };
    for (let step = done - running + 1; step <= done; step++) {
      yield { type: "step", step, steps, milliseconds, ...(step === done && last) };
    }
    previous = now;
    if (shown) next = submit(milliseconds);
    running = next;
  }
}
