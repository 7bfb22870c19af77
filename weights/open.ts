/**
 * Opens a model: a folder in the layout of diffusers, which comes with the program, is the user's or was downloaded, or
 * a single file.
 * @module
 */
import { basename, dirname, join, resolve } from "@std/path";
import { openCheckpoint } from "./checkpoint.ts";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { entriesIn, inside, isFile, kindOf, readJson } from "./files.ts";
import { findRepository } from "./hub/cache.ts";
import { parseRepository } from "./hub/repository.ts";
import { shown } from "./json.ts";
import { byPart, partEntry, type PartName, partsOf, partsWith, renameOf, TOKENIZER } from "./manifest.ts";
import type { ModelConfig, ModelFiles, ModelOptions } from "./model.ts";
import { renameTensors } from "./names.ts";
import { isPickle, pickleError } from "./pickle.ts";
import { openSafetensors } from "./safetensors.ts";
import { readSettings } from "./settings.ts";
import { openShards } from "./shards.ts";
import type { TensorSource } from "./tensor_source.ts";
import { forOpenClip, readTokenizer } from "./tokenizer_files.ts";
import { openVae } from "./vae.ts";

/** The file that makes a folder a model. */
const INDEX = "model_index.json";

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
export function openFiles(name: string, options: ModelOptions = {}): ModelFiles {
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
  throw new ModelNotFoundError(`The folder ${path} is not a model: it has no model_index.json`);
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

function openFolder(directory: string, options: ModelOptions): ModelFiles {
  const config = readConfig(directory);
  const tokenizers = readTokenizers(directory, config, options);
  const settings = readSettings(directory, config.vae);
  using stack = new DisposableStack();
  const vae = options.vae === undefined ? undefined : openVae(options.vae);
  if (vae) stack.use(vae.source);
  const parts = byPart(
    (part) => part === "vae" && vae ? vae.source : stack.use(openPart(directory, part)),
    partsOf(config),
  );
  const opened = stack.move();
  return {
    name: basename(resolve(directory)),
    directory,
    config: { ...config, ...(vae && { vae: vae.config(config.vae) }) },
    parts,
    ...tokenizers,
    settings,
    ...(vae && { givenVae: vae.given }),
    [Symbol.dispose]: () => opened.dispose(),
  };
}

function readTokenizers(directory: string, config: ModelConfig, { tokenizer: given }: ModelOptions) {
  const tokenizer = readTokenizer(given ?? inside(directory, TOKENIZER));
  if (!config.text_encoder_2) return { tokenizer };
  const own = () => readTokenizer(inside(directory, partEntry("text_encoder_2").tokenizer!));
  return { tokenizer, tokenizer_2: given === undefined ? own() : forOpenClip(tokenizer) };
}

/** Pipelines of diffusers whose models can be drawn with; others have other parts, whatever these are called. */
const PIPELINES = /^(?:StableDiffusion(?:XL)?(?:Img2Img|Inpaint)?|LatentConsistencyModel)Pipeline$/;

/**
 * Reads the configuration of a model folder.
 * @throws {ModelNotFoundError} a file is absent
 * @throws {ModelFileError} a file is not a JSON object, or the model is one of another pipeline
 */
export function readConfig(directory: string): ModelConfig {
  const index = inside(directory, INDEX);
  const own = kindOf(index) === "nothing" ? {} : readJson(index);
  const { _class_name: pipeline = "StableDiffusionPipeline", requires_aesthetics_score: refines } = own;
  const wanted = "only models of Stable Diffusion 1.x, 2.x and XL can be drawn with";
  if (typeof pipeline !== "string" || !PIPELINES.test(pipeline)) {
    throw new ModelFileError(index, `_class_name is ${shown(pipeline)}; ${wanted}`);
  }
  if (refines === true) throw new ModelFileError(index, `this is the refiner of Stable Diffusion XL; ${wanted}`);
  const parts = partsWith((part) => kindOf(inside(directory, part)) !== "nothing");
  return {
    ...byPart((part) => readJson(inside(directory, part, "config.json")), parts),
    scheduler: readJson(inside(directory, "scheduler", "scheduler_config.json")),
    index: own,
  };
}

function isModelFolder(path: string): boolean {
  return isFile(join(path, INDEX));
}

/** Where weights may be; the first that exists is used, so half precision only where nothing else is. */
const ENDINGS = [".safetensors", ".safetensors.index.json", ".fp16.safetensors", ".safetensors.index.fp16.json"];

/** The weights in `<directory>/<part>` under canonical names. */
function openPart(directory: string, part: PartName): TensorSource {
  const { stem, folder: naming } = partEntry(part);
  const folder = inside(directory, part);
  const path = ENDINGS.map((ending) => inside(folder, stem + ending)).find((path) => kindOf(path) !== "nothing");
  if (path === undefined) throw noWeights(folder, stem);
  const open = path.endsWith(".json") ? openShards : openSafetensors;
  using stack = new DisposableStack();
  const source = stack.use(open(path, { ignore: (name) => naming.stray?.test(name) ?? false }));
  const renamed = renameTensors(source, renameOf(naming, source.tensors.keys()));
  stack.move();
  return renamed;
}

function noWeights(folder: string, stem: string): Error {
  const pickle = entriesIn(folder).map(({ name }) => name).find(isPickle);
  if (pickle) return pickleError(join(folder, pickle), `from_pretrained(${JSON.stringify(dirname(folder))})`);
  return new ModelNotFoundError(
    `The model in ${dirname(folder)} has no weights of its ${basename(folder)}: ${stem}.safetensors is not there`,
  );
}
