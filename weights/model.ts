/**
 * Opens a model: a diffusers folder, one that comes with the program or one of the user's.
 * @module
 */
import { basename, join, resolve } from "@std/path";
import { type ModelDefaults, readDefaults } from "./defaults.ts";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { isFile, kindOf, readJson } from "./files.ts";
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
  /** The name it was opened by, or its folder's. */
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

/** The folder of the embedded models: this one, unless the program runs from a URL. */
const EMBEDDED: string | undefined = import.meta.dirname;

/** Names of the models that come with the program, in alphabetical order; none when it runs from a URL. */
export function listEmbedded(): readonly string[] {
  if (EMBEDDED === undefined) return [];
  return Array.from(Deno.readDirSync(EMBEDDED), ({ name }) => name)
    .filter((name) => isModelFolder(join(EMBEDDED, name)))
    .sort();
}

/**
 * Opens an embedded model by its name, or a diffusers folder by its path. An embedded name goes before a folder
 * of the same name, which `./name` still means.
 * @throws {ModelNotFoundError} there is no such model, or a part of it is absent
 * @throws {ModelFileError} a file of it is damaged or of an unsupported kind
 */
export function openModel(nameOrDirectory: string): Model {
  const directory = findModel(nameOrDirectory);
  const config = readConfig(directory);
  const tokenizer = readTokenizer(join(directory, "tokenizer"));
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

function findModel(name: string): string {
  if (EMBEDDED !== undefined && listEmbedded().includes(name)) return join(EMBEDDED, name);
  const kind = kindOf(name);
  if (kind === "folder") {
    if (isModelFolder(name)) return name;
    throw new ModelNotFoundError(`The folder ${name} is no model: it has no model_index.json`);
  }
  if (kind === "nothing") {
    const embedded = EMBEDDED === undefined
      ? `none are embedded in a program that runs from ${import.meta.url}`
      : `embedded are ${listEmbedded().join(", ")}`;
    throw new ModelNotFoundError(`There is no model or folder ${name}; ${embedded}`);
  }
  if (isPickle(name)) throw pickleError(name, `from_single_file(${JSON.stringify(name)})`);
  throw new ModelFileError(name, "a model is a folder in the layout of diffusers, and this is none");
}
