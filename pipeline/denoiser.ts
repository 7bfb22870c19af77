/**
 * The denoising loop as recorded programs: what a run prepares once, and the step that is replayed.
 * @module
 */
import { advance } from "../kernels/advance.ts";
import type { Ops } from "../kernels/ops.ts";
import type { Program } from "../kernels/program.ts";
import { firstSample, type Memory, type Tensor } from "../kernels/tensor.ts";
import type { PromptChunk } from "./prompt/chunks.ts";
import { assembleContext, isWeighted } from "./prompt/emphasis.ts";
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
  /** Tokens of one chunk of a prompt. */
  readonly tokens: number;
  /** Chunks of a prompt. */
  readonly chunks: number;
  /** The text encoder's layer that is the context, 1 for the last. */
  readonly clipSkip: number;
  /** Whether steps keep parts of an original. */
  readonly masked: boolean;
}

/** What a masked denoiser keeps; each `[channels, height, width]`. */
export interface Original {
  /** 1 where the picture is made, 0 where it is kept. */
  readonly mask: Float32Array;
  /** The clean latent. */
  readonly sample: Float32Array;
  /** The noise that is added to it, the same in each step. */
  readonly noise: Float32Array;
}

/** What a run of the denoiser starts from. */
export interface Start {
  /** `[channels, height, width]`. */
  readonly sample: Float32Array;
  /** Classifier-free guidance scale. */
  readonly guidance: number;
  /** Multiplies the last latent. */
  readonly finalScale: number;
  /** For a masked denoiser. */
  readonly original?: Original;
}

/** The weights that denoising needs. */
export interface DenoiserWeights {
  readonly text: TextWeights;
  readonly unet: UnetWeights;
}

/** A recorded denoising loop. */
export interface Denoiser {
  readonly shape: DenoiserShape;
  /**
   * Behind the last step the first sample of the UNet's input: the latent, scaled as the schedule's end asks.
   */
  readonly latent: Tensor;
  /** Values of a latent. */
  readonly elements: number;
  /** The text encoder, then everything else that all steps share. */
  readonly preparation: readonly Program[];
  /** One step. */
  readonly stepping: Program;
  /**
   * Runs the text encoder on the chunks of prompts, one list a sample, and everything else that all steps share. Waits
   * for the GPU only when the context must be put together: for weights, or for several chunks.
   */
  prepare(prompts: readonly (readonly PromptChunk[])[], schedule: Schedule): Promise<void>;
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

/** The UNet's input in a denoising loop of `shape`: memory that is not allocated before it is used. */
export function planLatent(
  ops: Ops,
  { unet }: DenoiserWeights,
  { height, width, guided }: Pick<DenoiserShape, "height" | "width" | "guided">,
): Tensor {
  return ops.keep({ batch: guided ? 2 : 1, channels: unet.config.inChannels, height, width }, "latent");
}

/** Records the denoising loop of `shape` around `latent`, after timing what kernels suit it where that is not known. */
export async function recordDenoiser(
  ops: Ops,
  weights: DenoiserWeights,
  { shape, latent }: { readonly shape: DenoiserShape; readonly latent: Tensor },
): Promise<Denoiser> {
  const { height, width, evaluations, slots, tokens, chunks, clipSkip, masked } = shape;
  const { batch, channels } = latent;
  const { text, unet: unetWeights } = weights;
  const chunkShape = { batch: batch * chunks, channels: text.config.width, height: tokens, width: 1 };
  const embedded = ops.keep(chunkShape, "embedded tokens");
  const encoded = ops.keep(chunkShape, "encoded tokens");
  const context = chunks === 1 ? encoded : ops.keep({ ...chunkShape, batch, height: chunks * tokens }, "context");
  const timeWidth = unetWeights.config.down[0]!.channels;
  const timesteps = ops.keep({ batch: 1, channels: timeWidth, height: evaluations, width: 1 }, "timesteps");
  const step = ops.buffer(1, "step", "u32");
  const layout = ops.backend.layout(channels, 1, height * width, true);
  const matrix = { layout, rows: channels, batch: 1, pixels: height * width };
  const encode = (values: Float32Array) => ops.backend.encode(matrix, values);
  const elements = channels * height * width;
  const padded = encode(new Float32Array(elements)).length;
  const state = ops.buffer(slots * padded, "sampler state");
  const noise = ops.buffer(padded, "noise");
  const original = masked ? ops.buffer(3 * padded, "original") : undefined;
  const stride = 2 + slots * (slots + 2) + (masked ? 2 : 0);
  const coefficients = ops.buffer(evaluations * stride, "sampler coefficients");

  const condition = () => prepareUnet(ops, unetWeights, { timesteps, step, context });
  await ops.tune(() => unet(ops, unetWeights, latent, condition()));

  let conditions: ReturnType<typeof prepareUnet>;
  const encoding = ops.record(() => ops.copy(textEncoder(ops, text, embedded, { clipSkip }), encoded));
  const conditioning = ops.record(() => conditions = condition());
  const stepping = ops.record(() => {
    const prediction = unet(ops, unetWeights, latent, conditions);
    const sampler = { prediction, input: latent, state, noise, coefficients, step, slots };
    ops.launch(ops.backend.sample({ ...sampler, ...(original && { original }) }));
    ops.launch(advance(step));
  });
  const kept = new Set<Memory>([
    ...[embedded, encoded, context, timesteps, latent, conditions!.time, ...conditions!.contextKv].map((tensor) =>
      tensor.memory
    ),
    step,
    state,
    noise,
    coefficients,
    ...(original ? [original] : []),
  ]);

  const readSlots = async (count: number) => {
    const values = await ops.gpu.read(state);
    return Array.from({ length: count }, (_, i) => {
      return ops.backend.decode(matrix, values.subarray(i * padded, (i + 1) * padded));
    });
  };

  return {
    shape,
    latent: firstSample(latent),
    elements,
    preparation: [encoding, conditioning],
    stepping,
    async prepare(prompts, schedule) {
      const all = prompts.flat();
      ops.write(embedded, embedTokens(text, all.map(({ ids }) => ids)));
      ops.write(timesteps, embedTimesteps(unetWeights.config, schedule.steps.map((step) => step.timestep)));
      encoding.run();
      if (chunks > 1 || all.some(isWeighted)) ops.write(context, assembleContext(await ops.read(encoded), prompts));
      conditioning.run();
    },
    start(schedule, { sample, guidance, finalScale, original: kept }) {
      ops.gpu.write(coefficients, coefficientTable(schedule, { guidance, finalScale, masked }));
      if (original && kept) {
        const latents = new Float32Array(3 * padded);
        [kept.mask, kept.sample, kept.noise].forEach((values, i) => latents.set(encode(values), i * padded));
        ops.gpu.write(original, latents);
      }
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
      return (await readSlots(1))[0]!;
    },
    state: () => readSlots(slots),
    dispose() {
      encoding.dispose();
      conditioning.dispose();
      stepping.dispose();
      for (const memory of kept) ops.gpu.free(memory);
    },
  };
}

/** The table that the sampler's kernel reads, see {@link SamplerSpec.coefficients} and {@link SamplerSpec.original}. */
function coefficientTable(
  schedule: Schedule,
  { guidance, finalScale, masked }: { guidance: number; finalScale: number; masked: boolean },
): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    schedule.steps.flatMap(({ transition }, i) => {
      // What is kept is as noisy as what the next step takes, and clean behind the last.
      const { signal, noise } = schedule.noiseLevels[i + 1] ?? { signal: 1, noise: 0 };
      return [
        schedule.steps[i + 1]?.inputScale ?? finalScale,
        guidance,
        ...transition.flat(),
        ...(masked ? [signal, noise] : []),
      ];
    }),
  );
}
