/**
 * The stages of a model against what another implementation computed with the same weights.
 * @module
 */
import type { Ops, Program, Tensor } from "../kernels/mod.ts";
import type { Decoder } from "./decoder.ts";
import type { Net, Run } from "./families/family.ts";
import { decode } from "./nets/vae.ts";
import type { PromptChunk } from "./prompt/chunks.ts";
import { createNoiseSource } from "./random/mod.ts";
import type { Residency } from "./residency.ts";

/** Results of another implementation, each as samples: value `k` is at position `7919 k` modulo the number of values. */
export interface Reference {
  /** Token ids of the unconditional sample, whose prompt is empty, and of the conditional one. */
  readonly prompts: readonly (readonly number[])[];
  /** The same for the second text encoder, where the model has one. */
  readonly prompts2?: readonly (readonly number[])[];
  /** Of PyTorch's generator on the CPU: its first noise is the latent of both samples. */
  readonly seed: number;
  /** Columns of the picture. */
  readonly width: number;
  /** Rows of the picture. */
  readonly height: number;
  /** The decoded latent is that noise times this, divided by the VAE's scaling factor. */
  readonly latentFactor: number;
  /** What the UNet reads of the prompts, `[2, width, tokens]`. */
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

/** A result and the reference's samples of it. */
type Result = readonly [name: string, got: Float32Array, want: readonly number[]];

/** Prime, and not a factor of any size: samples are spread over all channels, rows and columns. */
const SAMPLE_STRIDE = 7919;

/** What a model's stages run with. */
interface Compared {
  readonly ops: Ops;
  readonly net: Net;
  readonly decoder: Decoder;
  /** Makes a stage ready to run programs. */
  readonly enter: Residency["enter"];
}

/** Runs every stage of a model and compares what comes out. */
export async function compareStages(
  { ops, net, decoder, enter }: Compared,
  reference: Reference,
): Promise<readonly Deviation[]> {
  const { factor, scalingFactor, latentChannels: channels } = decoder.weights.config;
  const size = { channels, height: reference.height / factor, width: reference.width / factor };
  const noise = createNoiseSource("cpu", BigInt(reference.seed)).normal(channels * size.height * size.width);
  const x = ops.keep({ batch: reference.prompts.length, ...size }, "latent");
  ops.write(x, Float32Array.from({ length: x.batch * noise.length }, (_, i) => noise[i % noise.length]!));
  const z = decoder.ops.keep({ batch: 1, ...size }, "latent");
  decoder.ops.write(z, noise.map((value) => value * reference.latentFactor / scalingFactor));
  const decoding = (program: Program) => enter("decode", [program]);
  const picture = await evaluate(decoder.ops, () => decode(decoder.ops, decoder.weights, z), decoding);
  const results: readonly Result[] = [
    ...await predict({ ops, net, enter }, { reference, x }),
    ["VAE decoder", picture, reference.picture],
  ];
  for (const { memory } of [x, z]) ops.gpu.free(memory);
  const allowed = decoder.exact ? 1e-3 : 1e-2;
  return results.map(([name, got, want]) => ({ name, error: relativeError(got, want), allowed }));
}

/** The context that the net reads, and its output for `x` at each of the reference's timesteps. */
async function predict(
  { ops, net, enter }: Omit<Compared, "decoder">,
  { reference, x }: { readonly reference: Reference; readonly x: Tensor },
): Promise<readonly Result[]> {
  const { prompts, prompts2, predictions } = reference;
  const tokens = prompts[0]!.length;
  const run: Run = {
    height: x.height,
    width: x.width,
    samples: prompts.length,
    evaluations: predictions.length,
    tokens,
    chunks: 1,
    clipSkip: 1,
  };
  const step = ops.buffer(1, "step", "u32");
  const conditions = await net.condition(ops, run, step);
  await conditions.prepare({
    prompts: [prompts, ...(prompts2 ? [prompts2] : [])].map((own) => own.map((ids) => [chunkOf(ids, own[0]![1]!)])),
    timesteps: predictions.map(({ timestep }) => timestep),
    request: { guidance: 1, negativePrompt: "", width: reference.width, height: reference.height },
  }, (stage) => enter(stage, stage === "text" ? conditions.texts : [conditions.shared]));
  const results: Result[] = [[
    prompts2 ? "text encoders" : "text encoder",
    await ops.read(conditions.context),
    reference.context,
  ]];
  for (const [index, { timestep, values }] of predictions.entries()) {
    ops.gpu.write(step, Uint32Array.of(index));
    const denoising = (program: Program) => enter("denoise", [conditions.shared, program]);
    const predicted = await evaluate(ops, () => conditions.predict(x), denoising);
    results.push([`UNet at timestep ${timestep}`, predicted, values]);
  }
  conditions.dispose();
  ops.gpu.free(step);
  return results;
}

/** What a text encoder reads at once, of which no token is weighted. */
function chunkOf(ids: readonly number[], end: number): PromptChunk {
  const tokens = ids.slice(1, ids.indexOf(end)).map((id) => ({ id, text: "", weight: 1 }));
  return { ids, weights: new Array<number>(ids.length).fill(1), tokens };
}

/** The values of what `build` records; `ready` is called before it runs. */
async function evaluate(
  ops: Ops,
  build: () => Tensor,
  ready: (program: Program) => Promise<void>,
): Promise<Float32Array> {
  let result: Tensor;
  const program = ops.record(() => {
    const value = build();
    result = ops.keep(value, "result");
    ops.copy(value, result);
  });
  await ready(program);
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
