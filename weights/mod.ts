/**
 * Models as bytes: files checked and opened, tensors by canonical name.
 * @module
 */
export { cacheFolder, type ReadVariable } from "./cache_folder.ts";
export { type CacheSize, cacheSizes } from "./cache_sizes.ts";
export { type DescribedFile, describeFile } from "./describe.ts";
export { type EmbeddingFile, openEmbedding } from "./embedding.ts";
export { CacheError, ModelFileError, ModelNotFoundError } from "./errors.ts";
export { parseJson } from "./files.ts";
export { type EsrganConfig, openUpscaler, openUpscalerTensors, type UpscalerFile } from "./esrgan.ts";
export { openFormula } from "./formula.ts";
export { type Cache, findRepository } from "./hub/cache.ts";
export type { Write } from "./hub/download.ts";
export { pull, type Pulled, type PullEvent, type PullOptions } from "./hub/pull.ts";
export { parseRepository, type Repository, showRepository } from "./hub/repository.ts";
export type { Wait } from "./hub/request.ts";
export { isObject, type JsonObject, quoted, shown } from "./json.ts";
export { LIMITS } from "./limits.ts";
export {
  describeTensors,
  findLora,
  type LoraFile,
  type MergedSource,
  mergeLoras,
  openLora,
  type WeighedLora,
} from "./lora.ts";
export { type ListedModel, listModels } from "./model_list.ts";
export { type ByPart, byPart, PART_NAMES, type PartName, partsOf } from "./manifest.ts";
export type { GivenFiles, ModelConfig, ModelFiles, ModelOptions, ModelSettings } from "./model.ts";
export { listEmbedded, openFiles, readConfig } from "./open.ts";
export { openControlNet, type OpenedControlNet, scaleTensors } from "./controlnet.ts";
export { VERSION_1 as sd14Config, VERSION_XL as sdxlConfig } from "./shape_config.ts";
export { openSafetensors, type SafetensorsOptions, type SafetensorsSource } from "./safetensors.ts";
export {
  BYTES_PER_ELEMENT,
  type DType,
  type ReadOptions,
  type TensorInfo,
  type TensorSource,
} from "./tensor_source.ts";
export { openVae } from "./vae.ts";
export { readValues, toFloat32, type Values } from "./values.ts";
export type { TokenizerFiles } from "./tokenizer_files.ts";
