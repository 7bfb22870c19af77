/**
 * Opens a model: a diffusers folder, one that comes with the program, one of the user's or a downloaded one, or a
 * single file.
 * @module
 */
import { basename, join, resolve } from "@std/path";
import type { ReadVariable } from "./cache_folder.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { type ModelDefaults, readDefaults } from "./defaults.ts";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { isFile, kindOf, readJson } from "./files.ts";
import { findRepository } from "./hub/cache.ts";
import { parseRepository } from "./hub/repository.ts";
import type { JsonObject } from "./json.ts";
import { isPickle, openPart, pickleError } from "./part.ts";
import type { TensorSource } from "./tensor_source.ts";
import { readTokenizer, type TokenizerFiles } from "./tokenizer_files.ts";

/** The JSON files that say how a model's parts are built. */
export interface ModelConfig {
  /** `text_encoder/config.json`. */
  readonly textEncoder: JsonObject;
  /** `unet/config.json`. */
  readonly unet: JsonObject;
  /** `vae/config.json`. */
  readonly vae: JsonObject;
  /** `scheduler/scheduler_config.json`. */
  readonly scheduler: JsonObject;
}

/** All that is needed to draw; disposing of it closes its files. */
export interface Model extends Disposable {
  /** The name it was opened by, or that of its folder or file. */
  readonly name: string;
  /** The folder it lies in. */
  readonly directory: string;
  /** How its parts are built. */
  readonly config: ModelConfig;
  /** Weights of the text encoder. */
  readonly textEncoder: TensorSource;
  /** Weights of the UNet. */
  readonly unet: TensorSource;
  /** Weights of the VAE. */
  readonly vae: TensorSource;
  /** Files of the tokenizer. */
  readonly tokenizer: TokenizerFiles;
  /** The settings it wants. */
  readonly defaults: ModelDefaults;
}

/** How a model is opened. */
export interface ModelOptions {
  /** A folder with the tokenizer to use instead of the model's own. */
  readonly tokenizer?: string | undefined;
  /** Reads the variables that say where downloaded models are; default the process's own. */
  readonly variable?: ReadVariable;
}

/** The folder of the embedded models: this one, unless the program runs from a URL. */
const EMBEDDED: string | undefined = import.meta.dirname;

/** Names of the models that come with the program, in alphabetical order; none when it runs from a URL. */
export function listEmbedded(): readonly string[] {
  if (EMBEDDED === undefined) return [];
  return Array.from(Deno.readDirSync(EMBEDDED), ({ name }) => name)
    .filter((name) => isModelFolder(join(EMBEDDED, name)))
    .sort();
}

/** The folder of an embedded model; undefined when none has this name. */
export function findEmbedded(name: string): string | undefined {
  return EMBEDDED !== undefined && listEmbedded().includes(name) ? join(EMBEDDED, name) : undefined;
}

/**
 * Opens an embedded model by its name, a diffusers folder or a safetensors checkpoint by its path, or a downloaded
 * repository by its name, `organisation/name` or `organisation/name@revision`; the first that is there is meant, so
 * `./name` is always a path.
 * @throws {ModelNotFoundError} there is no such model, or a part of it is absent
 * @throws {ModelFileError} a file of it is damaged or of an unsupported kind
 */
export function openModel(name: string, options: ModelOptions = {}): Model {
  const path = findEmbedded(name) ?? findFolder(name) ?? findFile(name);
  // The folder of a repository is called after a commit.
  if (path === undefined) return { ...openFolder(findPulled(name, options), options), name };
  return kindOf(path) === "folder" ? openFolder(path, options) : openCheckpoint(path, options);
}

function findPulled(name: string, { variable = (name) => Deno.env.get(name) }: ModelOptions): string {
  // A file's path may look like a repository's name.
  const repository = /\.safetensors$/i.test(name) || isPickle(name) ? undefined : parseRepository(name);
  return repository === undefined ? notFound(name) : findRepository(repository, variable);
}

function findFolder(path: string): string | undefined {
  if (kindOf(path) !== "folder") return undefined;
  if (isModelFolder(path)) return path;
  throw new ModelNotFoundError(`The folder ${path} is no model: it has no model_index.json`);
}

function findFile(path: string): string | undefined {
  if (kindOf(path) === "nothing") return undefined;
  if (isPickle(path)) throw pickleError(path, `from_single_file(${JSON.stringify(path)})`);
  if (/\.safetensors$/i.test(path)) return path;
  throw new ModelFileError(path, "a model is a folder in the layout of diffusers or a .safetensors file");
}

function notFound(name: string): never {
  const embedded = EMBEDDED === undefined
    ? `none are embedded in a program that runs from ${import.meta.url}`
    : `embedded are ${listEmbedded().join(", ")}`;
  throw new ModelNotFoundError(`There is no model, folder or file ${name}; ${embedded}`);
}

function openFolder(directory: string, options: ModelOptions): Model {
  const config = readConfig(directory);
  const tokenizer = readTokenizer(options.tokenizer ?? join(directory, "tokenizer"));
  const defaults = readDefaults(directory, config);
  using stack = new DisposableStack();
  const textEncoder = stack.use(openPart(directory, "text_encoder"));
  const unet = stack.use(openPart(directory, "unet"));
  const vae = stack.use(openPart(directory, "vae"));
  const opened = stack.move();
  return {
    name: basename(resolve(directory)),
    directory,
    config,
    textEncoder,
    unet,
    vae,
    tokenizer,
    defaults,
    [Symbol.dispose]: () => opened.dispose(),
  };
}

/**
 * Reads the configuration of a model folder.
 * @throws {ModelNotFoundError} a file is absent
 * @throws {ModelFileError} a file is not a JSON object
 */
export function readConfig(directory: string): ModelConfig {
  return {
    textEncoder: readJson(join(directory, "text_encoder", "config.json")),
    unet: readJson(join(directory, "unet", "config.json")),
    vae: readJson(join(directory, "vae", "config.json")),
    scheduler: readJson(join(directory, "scheduler", "scheduler_config.json")),
  };
}

function isModelFolder(path: string): boolean {
  return isFile(join(path, "model_index.json"));
}
