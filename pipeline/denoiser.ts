/**
 * The denoising loop as two recorded programs: what a run prepares once, and the step that is replayed.
 * @module
 */
import { advance } from "../kernels/advance.ts";
import type { Ops } from "../kernels/ops.ts";
import type { Program } from "../kernels/program.ts";
import { firstSample, type Memory, type Tensor } from "../kernels/tensor.ts";
import type { Schedule } from "./schedulers/schedule.ts";
import { embedTokens, textEncoder, type TextWeights } from "./text_encoder.ts";
import { embedTimesteps, prepareUnet, unet, type UnetWeights } from "./unet.ts";

/** What a denoiser is recorded for; requests that agree in it share one. */
export interface DenoiserShape {
  /** Size of the latent. */
  readonly height: number;
  readonly width: number;
  /** Whether an unconditional sample runs beside the conditional one. */
  readonly guided: boolean;
  /** Evaluations of the UNet. */
  readonly evaluations: number;
  /** Slots of the sampler's state. */
  readonly slots: number;
  /** Tokens of a prompt. */
  readonly tokens: number;
}

/** The weights that denoising needs. */
export interface DenoiserWeights {
  readonly text: TextWeights;
  readonly unet: UnetWeights;
}

/** A recorded denoising loop. */
export interface Denoiser {
  readonly shape: DenoiserShape;
  /** The UNet's next input; after the last step the first sample is the latent, scaled as the schedule's end asks. */
  readonly latent: Tensor;
  /** Values of a latent. */
  readonly elements: number;
  /** The text encoder and everything else that all steps share. */
  readonly preparation: Program;
  /** One step. */
  readonly stepping: Program;
  /** Runs the text encoder on `ids`, one list a sample, and everything else that all steps share. */
  prepare(ids: readonly (readonly number[])[], schedule: Schedule): void;
  /** Sets the sampler's start: `sample [channels, height, width]`. `finalScale` multiplies the last latent. */
  start(schedule: Schedule, options: { sample: Float32Array; guidance: number; finalScale: number }): void;
  /** Submits the next step, with its fresh noise if it uses any. */
  step(noise?: Float32Array): void;
  /** The sampler's current sample `[channels, height, width]`. */
  sample(): Promise<Float32Array>;
  dispose(): void;
}

/** Records the denoising loop of `shape`. */
export function recordDenoiser(ops: Ops, weights: DenoiserWeights, shape: DenoiserShape): Denoiser {
  const { height, width, guided, evaluations, slots, tokens } = shape;
  const batch = guided ? 2 : 1;
  const { text, unet: unetWeights } = weights;
  const channels = unetWeights.config.inChannels;
  const embedded = ops.keep({ batch, channels: text.config.width, height: tokens, width: 1 }, "embedded tokens");
  const timeWidth = unetWeights.config.down[0]!.channels;
  const timesteps = ops.keep({ batch: 1, channels: timeWidth, height: evaluations, width: 1 }, "timesteps");
  const latent = ops.keep({ batch, channels, height, width }, "latent");
  const step = ops.buffer(1, "step", "u32");
  const layout = ops.family.layout(channels, 1, height * width);
  const matrix = { layout, rows: channels, batch: 1, pixels: height * width };
  const encode = (values: Float32Array) => ops.family.encode(matrix, values);
  const elements = channels * height * width;
  const padded = encode(new Float32Array(elements)).length;
  const state = ops.buffer(slots * padded, "sampler state");
  const noise = ops.buffer(padded, "noise");
  const stride = 2 + slots * (slots + 2);
  const coefficients = ops.buffer(evaluations * stride, "sampler coefficients");

  let conditions: ReturnType<typeof prepareUnet>;
  const preparation = ops.record(() => {
    const context = textEncoder(ops, text, embedded);
    conditions = prepareUnet(ops, unetWeights, { timesteps, step, context });
  });
  const stepping = ops.record(() => {
    const prediction = unet(ops, unetWeights, latent, conditions);
    ops.launch(ops.family.sample({ prediction, input: latent, state, noise, coefficients, step, slots }));
    ops.launch(advance(step));
  });
  const kept: Memory[] = [
    ...[embedded, timesteps, latent, conditions!.time, ...conditions!.contextKv].map((tensor) => tensor.memory),
    step,
    state,
    noise,
    coefficients,
  ];

  return {
    shape,
    latent: firstSample(latent),
    elements,
    preparation,
    stepping,
    prepare(ids, schedule) {
      ops.write(embedded, embedTokens(text, ids));
      ops.write(timesteps, embedTimesteps(unetWeights.config, schedule.steps.map((step) => step.timestep)));
      preparation.run();
    },
    start(schedule, { sample, guidance, finalScale }) {
      ops.gpu.write(coefficients, coefficientTable(schedule, guidance, finalScale));
      ops.gpu.write(step, new Uint32Array(1));
      const slots = new Float32Array(shape.slots * padded);
      slots.set(encode(sample));
      ops.gpu.write(state, slots);
      const input = new Float32Array(batch * sample.length);
      const scaled = sample.map((value) => value * schedule.steps[0]!.inputScale);
      for (let i = 0; i < batch; i++) input.set(scaled, i * sample.length);
      ops.write(latent, input);
    },
    step(values) {
      if (values) ops.gpu.write(noise, encode(values));
      stepping.run();
    },
    async sample() {
      const values = await ops.gpu.read(state);
      return ops.family.decode(matrix, values.subarray(0, padded));
    },
    dispose() {
      preparation.dispose();
      stepping.dispose();
      for (const memory of kept) ops.gpu.free(memory);
    },
  };
}

/** The table that the sampler's kernel reads, see {@link SamplerSpec.coefficients}. */
function coefficientTable(schedule: Schedule, guidance: number, finalScale: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    schedule.steps.flatMap(({ transition }, i) => [
      schedule.steps[i + 1]?.inputScale ?? finalScale,
      guidance,
      ...transition.flat(),
    ]),
  );
}
