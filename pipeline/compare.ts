/**
 * The stages of a model against what another implementation computed with the same weights.
 * @module
 */
import type { Ops } from "../kernels/ops.ts";
import type { Tensor } from "../kernels/tensor.ts";
import type { Parts } from "./load.ts";
import { createNoiseSource } from "./random/mod.ts";
import { embedTokens, textEncoder } from "./text_encoder.ts";
import { embedTimesteps, prepareUnet, unet, type UnetConditions } from "./unet.ts";
import { decode } from "./vae.ts";

/** Results of another implementation, each as samples: value `k` is at position `7919 k` modulo the number of values. */
export interface Reference {
  /** Token ids of the unconditional and the conditional sample. */
  readonly prompts: readonly (readonly number[])[];
  /** Of PyTorch's generator on the CPU: its first noise is the latent of both samples. */
  readonly seed: number;
  /** Columns of the picture. */
  readonly width: number;
  /** Rows of the picture. */
  readonly height: number;
  /** The decoded latent is that noise times this, divided by the VAE's scaling factor. */
  readonly latentFactor: number;
  /** The text encoder's output `[2, width, tokens]`. */
  readonly context: readonly number[];
  /** The UNet's output `[2, channels, height, width]`. */
  readonly predictions: readonly { readonly timestep: number; readonly values: readonly number[] }[];
  /** The VAE's picture `[1, 3, height, width]`. */
  readonly picture: readonly number[];
}

/** How far one result is from the reference. */
export interface Deviation {
  /** What was compared. */
  readonly name: string;
  /** `|a - b| / |b|` of the samples, 2-norms. */
  readonly error: number;
  /** What it may be: 1e-3 for float32 arithmetic, 1e-2 for float16. */
  readonly allowed: number;
}

/** Prime, and not a factor of any size: samples are spread over all channels, rows and columns. */
const SAMPLE_STRIDE = 7919;

/** Runs every stage of a model and compares what comes out. */
export async function compareStages(parts: Parts, reference: Reference): Promise<readonly Deviation[]> {
  const { ops, vaeOps, exactVaeOps, decoder } = parts;
  const { height, width, seed } = reference;
  const { factor, scalingFactor, latentChannels } = decoder.config;
  const size = { channels: latentChannels, height: height / factor, width: width / factor };
  const noise = createNoiseSource("cpu", BigInt(seed)).normal(size.channels * size.height * size.width);

  const x = ops.keep({ batch: reference.prompts.length, ...size }, "latent");
  ops.write(x, Float32Array.from({ length: x.batch * noise.length }, (_, i) => noise[i % noise.length]!));
  const predicted = await predict(parts, reference, x);

  const z = vaeOps.keep({ batch: 1, ...size }, "latent");
  vaeOps.write(z, noise.map((value) => value * reference.latentFactor / scalingFactor));
  const picture = await evaluate(vaeOps, () => decode(vaeOps, decoder, z));
  for (const { memory } of [x, z]) ops.gpu.free(memory);
  const allowed = vaeOps === exactVaeOps ? 1e-3 : 1e-2;
  const results = [...predicted, { name: "VAE decoder", got: picture, want: reference.picture }];
  return results.map(({ name, got, want }) => ({ name, error: relativeError(got, want), allowed }));
}

/** The text encoder's output and the UNet's for `x` at each of the reference's timesteps. */
async function predict({ ops, weights }: Parts, reference: Reference, x: Tensor) {
  const { text, unet: unetWeights } = weights;
  const { prompts, predictions } = reference;
  const shape = { channels: text.config.width, height: prompts[0]!.length, width: 1 };
  const embedded = ops.keep({ batch: prompts.length, ...shape }, "embedded tokens");
  const context = ops.keep(embedded, "context");
  ops.write(embedded, embedTokens(text, prompts));
  const steps = predictions.map(({ timestep }) => timestep);
  const channels = unetWeights.config.down[0]!.channels;
  const timesteps = ops.keep({ batch: 1, channels, height: steps.length, width: 1 }, "timesteps");
  ops.write(timesteps, embedTimesteps(unetWeights.config, steps));
  const step = ops.buffer(1, "step", "u32");
  let conditions: UnetConditions;
  const preparation = ops.record(() => {
    ops.copy(textEncoder(ops, text, embedded), context);
    conditions = prepareUnet(ops, unetWeights, { timesteps, step, context });
  });
  preparation.run();
  const results = [{ name: "text encoder", got: await ops.read(context), want: reference.context }];
  preparation.dispose();
  for (const [index, { timestep, values }] of predictions.entries()) {
    ops.gpu.write(step, Uint32Array.of(index));
    const got = await evaluate(ops, () => unet(ops, unetWeights, x, conditions));
    results.push({ name: `UNet at timestep ${timestep}`, got, want: values });
  }
  const { time, contextKv } = conditions!;
  for (const { memory } of [embedded, context, timesteps, time, ...contextKv]) ops.gpu.free(memory);
  ops.gpu.free(step);
  return results;
}

/** The values of what `build` records. */
async function evaluate(ops: Ops, build: () => Tensor): Promise<Float32Array> {
  let result: Tensor;
  const program = ops.record(() => {
    const value = build();
    result = ops.keep(value, "result");
    ops.copy(value, result);
  });
  program.run();
  const values = await ops.read(result!);
  program.dispose();
  ops.gpu.free(result!.memory);
  return values;
}

/** `|got - want| / |want|` of the samples `want`. */
function relativeError(got: Float32Array, want: readonly number[]): number {
  const norm = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return norm(want.map((value, k) => got[k * SAMPLE_STRIDE % got.length]! - value)) / norm(want);
}
