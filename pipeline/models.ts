/**
 * Models on this machine and on a hub, without loading a {@link Pipeline}.
 * @module
 */
import {
  byPart,
  type DescribedFile,
  describeFile,
  listModels,
  ModelFileError,
  ModelNotFoundError,
  partsOf,
  readConfig,
  type ReadVariable,
} from "../weights/mod.ts";
import { sd1 } from "./families/sd1.ts";
import { sd2 } from "./families/sd2.ts";
import { sdxl } from "./families/sdxl.ts";
import { familyOf } from "./families/table.ts";
import { ShapeRecorder } from "./nets/shapes.ts";
export {
  CacheError,
  type CacheSize,
  cacheSizes,
  findRepository,
  ModelNotFoundError,
  parseRepository,
  pull,
  type Pulled,
  type PullEvent,
  type Repository,
  showRepository,
} from "../weights/mod.ts";

export interface ModelDescription {
  readonly name: string;
  readonly bytes: number;
  /** Its family; absent when it cannot be drawn with. */
  readonly family?: string;
  /** Why it cannot be drawn with. */
  readonly problem?: string;
  /** Whether it comes with the program, was downloaded by it, or is Hugging Face's. */
  readonly owner: "embedded" | "denoise" | "Hugging Face";
  readonly directory: string;
}

/** The embedded models and those that were downloaded; no weights are read. */
export function describeModels(variable: ReadVariable): readonly ModelDescription[] {
  return listModels(variable).map(({ missing, ...model }) => {
    if (missing.length > 0) return { ...model, problem: describeMissing(model.name, missing) };
    try {
      return { ...model, family: describeFamily(model.directory) };
    } catch (error) {
      if (!(error instanceof ModelFileError || error instanceof ModelNotFoundError)) throw error;
      return { ...model, problem: error.message };
    }
  });
}

/** What a weights file is. */
export type WeightsDescription = Omit<DescribedFile, "config" | "context">;

/** The families of models by the width of the context that their UNets attend to. */
const CONTEXTS: Readonly<Record<number, string>> = { 768: sd1.name, 1024: sd2.name, 2048: sdxl.name };

/**
 * Describes the safetensors file at `path` by its header; no weights are read.
 *
 * @throws {ModelNotFoundError} when there is no such file.
 * @throws {ModelFileError} when the file is damaged, a pickle, or of no kind that is known.
 */
export function describeWeights(path: string): WeightsDescription {
  const { config, context = 0, ...file } = describeFile(path);
  const family = file.family ?? (config ? familyOf(config).name : CONTEXTS[context]);
  return { ...file, ...(family !== undefined && { family }) };
}

function describeMissing(name: string, missing: readonly string[]): string {
  return `incomplete: there is no ${missing.join(", ")}; "denoise pull ${name}" downloads it`;
}

/**
 * The name of the family of the model in a folder, told by its configurations.
 *
 * @throws {ModelFileError} when it is of a kind that is not supported.
 */
export function describeFamily(directory: string): string {
  const config = readConfig(directory);
  const family = familyOf(config);
  family.read(byPart(() => new ShapeRecorder(), partsOf(config)), config);
  return family.name;
}
