/**
 * Stable Diffusion as a library: open a model, load it on a GPU, draw.
 *
 * ```ts
 * import { Gpu, openModel, Pipeline, type Request } from "@denoise/denoise";
 *
 * await using gpu = await Gpu.open();
 * using model = openModel("emoji");
 * await using pipeline = await Pipeline.load(gpu, model);
 * const request: Request = {
 *   prompt: "a red apple",
 *   negativePrompt: "",
 *   seed: 7n,
 *   steps: 4,
 *   guidance: 1.5,
 *   width: 128,
 *   height: 128,
 *   rng: "cpu",
 * };
 * for await (const event of pipeline.generate(request)) {
 *   if (event.type !== "image") continue;
 *   const { width, height, pixels } = event.image; // 8-bit RGB, rows from the top
 *   if (pixels.length !== width * height * 3) throw new Error("No picture");
 * }
 * ```
 *
 * `@denoise/denoise` is this module's name within this project. From elsewhere, import its path and run with this
 * project's deno.json: `deno run -A --config path/to/denoise/deno.json mine.ts`.
 * @module
 */
export {
  type AdapterInfo,
  type DeviceOptions,
  type FeatureName,
  Gpu,
  GpuFailedError,
  GpuMemoryError,
  type MatrixShape,
  NoGpuError,
  type ProviderName,
} from "../kernels/mod.ts";
export {
  type EmbeddingFile,
  findLora,
  type GivenFiles,
  listEmbedded,
  type LoraFile,
  ModelFileError,
  type ModelFiles,
  ModelNotFoundError,
  type ModelOptions,
  type UpscalerFile,
  type WeighedLora,
} from "../weights/mod.ts";
export { complete, type CompleteRequest } from "./complete.ts";
export type { ControlNet } from "./controlnets.ts";
export type { Family, StageName } from "./families/family.ts";
export { openLora } from "./loras.ts";
export { type Model, type ModelDefaults, openModel, type OpenOptions, tokenizerOf } from "./model.ts";
export { type Examination, examine, type SelfTest } from "../kernels/self_test.ts";
export type { Deviation, Reference } from "./compare.ts";
export type { Precision } from "./nets/parameters.ts";
export type { KernelTimes, SelectionOptions, TimingStore } from "../kernels/selection.ts";
export { AUTO, BASELINE, type Optimizations, PAPER, readOptimizations } from "./optimizations.ts";
export { type GenerateOptions, Pipeline, type PipelineOptions } from "./pipeline.ts";
export type { StageBytes } from "./residency.ts";
export { openPreviewVae, type PreviewVae } from "./preview_vae.ts";
export {
  type EncodedPrompt,
  encodePrompt,
  type PromptChunk,
  type PromptReading,
  type WeightedToken,
} from "./prompt/chunks.ts";
export { type EmbeddedWord, openEmbedding, withEmbeddings } from "./prompt/embeddings.ts";
export {
  type Control,
  type Embedding,
  type GenerateEvent,
  type Hires,
  type Image,
  type ImageFile,
  type InitImage,
  type Lora,
  type NamedUpscaler,
  type Request,
  RequestError,
  type StepEvent,
  type Thresholds,
  type Timings,
  type VaeTiling,
} from "./request.ts";
export { type EnlargeOptions, openUpscaler, refuseSize, Upscaler, type UpscalerOptions } from "./upscaler.ts";
export { findScheduler, schedulerNames } from "./schedulers/mod.ts";
export type { Token, Tokenizer } from "./tokenizer.ts";
