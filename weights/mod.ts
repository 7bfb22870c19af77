/**
 * Models as bytes: files checked and opened, tensors by canonical name.
 * @module
 */
export { cacheFolder, type ReadVariable } from "./cache_folder.ts";
export type { ModelDefaults } from "./defaults.ts";
export { ModelFileError, ModelNotFoundError } from "./errors.ts";
export { openFormula } from "./formula.ts";
export type { JsonObject } from "./json.ts";
export { listEmbedded, type Model, type ModelConfig, type ModelOptions, openModel } from "./model.ts";
export { openSafetensors, type SafetensorsOptions, type SafetensorsSource } from "./safetensors.ts";
export { sd14Config, sd14Defaults, sd14Tokenizer } from "./sd14.ts";
export {
  BYTES_PER_ELEMENT,
  type DType,
  type TensorInfo,
  type TensorSource,
  toFloat16Bits,
  toFloat32,
} from "./tensor_source.ts";
export type { TokenizerFiles } from "./tokenizer_files.ts";
