/**
 * A model's files to what a pipeline works with.
 * @module
 */
import type { Gpu } from "../kernels/gpu.ts";
import { type Backends, chooseBackends } from "../kernels/mod.ts";
import { Ops } from "../kernels/ops.ts";
import { AUTO, type Optimizations } from "../kernels/optimizations.ts";
import { Selection, type SelectionOptions } from "../kernels/selection.ts";
import { type Model, ModelFileError, type TensorSource } from "../weights/mod.ts";
import { checkModel } from "./check_model.ts";
import type { DenoiserWeights } from "./denoiser.ts";
import { Parameters, type Precision } from "./parameters.ts";
import { readTextEncoder } from "./text_encoder.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";
import { readUnet } from "./unet.ts";
import { readDecoder, readEncoder, type VaeWeights } from "./vae.ts";

/** The VAE runs once a picture: only a small one's transformed weights are worth their memory. */
const VAE_TRANSFORMED_BYTES = 32 << 20;

/** How a pipeline is loaded. */
export interface PipelineOptions {
  /** How weights are stored and whether the UNet may compute in float16; default `auto`: as the model's files are. */
  readonly precision?: Precision;
  /** Which of the paper's optimizations run; default {@link AUTO}. */
  readonly kernels?: Optimizations;
  /** How it is decided which of their kernels run; by default without a memory of earlier runs. */
  readonly selection?: SelectionOptions;
  /** The kernels to choose among; by default those that suit the GPU. */
  readonly backends?: Pick<Backends, "exact" | "half">;
}

/** A model on a GPU: its weights, and the operations that record with them. */
export interface Parts {
  readonly ops: Ops;
  /** Operations of the VAE. */
  readonly vaeOps: Ops;
  /** The same with float32 activations, for latents at which others overflow. */
  readonly exactVaeOps: Ops;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly weights: DenoiserWeights;
  readonly decoder: VaeWeights;
  /** The VAE's encoder, read when it is first asked for; the model must still be open then. */
  readonly encoder: () => VaeWeights;
}

/**
 * Reads a model's weights onto the GPU.
 *
 * @throws {ModelFileError} when tensors are missing, misshapen or unknown, or the model is of a kind that is not supported.
 */
export async function loadParts(gpu: Gpu, model: Model, options: PipelineOptions): Promise<Parts> {
  const { text, unet, vae } = checkModel(model);
  const backends = options.backends ?? await chooseBackends(gpu);
  const { precision, kernels: optimizations = AUTO } = options;
  const selection = new Selection(gpu.adapter, options.selection);
  const recording = { optimizations, selection };
  const backend = halfPrecision(model, precision) ? backends.half : backends.exact;
  const ops = new Ops(gpu, backend, recording);
  const once = { ...recording, transformedBytes: VAE_TRANSFORMED_BYTES };
  const exactVaeOps = new Ops(gpu, backends.exact, once);
  const vaeOps = backend === backends.exact ? exactVaeOps : new Ops(gpu, backend, once);
  const parameters = (ops: Ops, part: TensorSource) => new Parameters(ops, part, precision);
  const weights = {
    text: readTextEncoder(parameters(ops, model.textEncoder), text),
    unet: readUnet(parameters(ops, model.unet), unet),
  };
  const decoder = readDecoder(parameters(vaeOps, model.vae), vae);
  let encoder: VaeWeights | undefined;
  const tokenizer = await loadTokenizer(model.tokenizer);
  gpu.check();
  return {
    ops,
    vaeOps,
    exactVaeOps,
    model,
    tokenizer,
    weights,
    decoder,
    encoder: () => encoder ??= readEncoder(parameters(exactVaeOps, model.vae), vae),
  };
}

/**
 * Makes sure that a model can start from a picture; no GPU is needed.
 *
 * @throws {ModelFileError} when its VAE has a decoder only.
 */
export function checkEncoder({ vae }: Model): void {
  if (vae.tensors.has("encoder.conv_in.weight")) return;
  throw new ModelFileError(vae.label, "has no encoder, so this model cannot start from a picture");
}

/** Whether float16 arithmetic is wanted: asked for, or what the UNet's weights are stored in. */
function halfPrecision(model: Model, precision: Precision = "auto"): boolean {
  if (precision !== "auto") return precision === "f16";
  return [...model.unet.tensors.values()].every(({ dtype }) => dtype === "F16");
}
