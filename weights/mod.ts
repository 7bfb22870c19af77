/**
 * Models as bytes: files checked and opened, tensors by canonical name.
 * @module
 */
export { cacheFolder, type ReadVariable } from "./cache_folder.ts";
export type { ModelDefaults } from "./defaults.ts";
export { type CacheSize, cacheSizes } from "./cache_sizes.ts";
export { CacheError, ModelFileError, ModelNotFoundError } from "./errors.ts";
export { readJson } from "./files.ts";
export { openFormula } from "./formula.ts";
export { type Cache, findRepository } from "./hub/cache.ts";
export type { Write } from "./hub/download.ts";
export { pull, type Pulled, type PullEvent, type PullOptions } from "./hub/pull.ts";
export { parseRepository, type Repository, showRepository } from "./hub/repository.ts";
export type { Wait } from "./hub/request.ts";
export type { JsonObject } from "./json.ts";
export { type ListedModel, listModels } from "./model_list.ts";
export { listEmbedded, type Model, type ModelConfig, type ModelOptions, openModel, readConfig } from "./model.ts";
export { openSafetensors, type SafetensorsOptions, type SafetensorsSource } from "./safetensors.ts";
export { sd14Config, sd14Defaults, sd14Tokenizer } from "./sd14.ts";
export {
  BYTES_PER_ELEMENT,
  type DType,
  type ReadOptions,
  type TensorInfo,
  type TensorSource,
} from "./tensor_source.ts";
export { readValues, toFloat32, type Values } from "./values.ts";
export type { TokenizerFiles } from "./tokenizer_files.ts";
