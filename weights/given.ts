/**
 * Opens what is given beside a model, a VAE or a ControlNet: a folder of diffusers, or one safetensors file.
 * @module
 */
import { join } from "@std/path";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { entriesIn, inside, isFile, kindOf, readJson, sha256Of } from "./files.ts";
import type { JsonObject } from "./json.ts";
import { belongs, type Naming, renameOf } from "./manifest.ts";
import type { GivenFiles } from "./model.ts";
import { renameTensors } from "./names.ts";
import { isPickle, pickleError } from "./pickle.ts";
import { openSafetensors } from "./safetensors.ts";
import type { TensorSource } from "./tensor_source.ts";

/** What may be given, and how its tensors are named. */
export interface GivenKind {
  /** What errors call it. */
  readonly title: string;
  /** Its class in diffusers. */
  readonly className: string;
  /** The naming in a folder. */
  readonly folder: Naming;
  /** The folder in that of a whole model, which may be given instead. */
  readonly part?: string;
  /**
   * The naming in the single file at `path`, told by its names.
   *
   * @throws {ModelFileError} the file holds something else
   */
  single(path: string, names: readonly string[]): Naming;
}

/** Tensors outside of a model; disposing of {@link Given.source} closes their file. */
export interface Given {
  readonly source: TensorSource;
  readonly given: GivenFiles;
  /** Its `config.json`; a single file has none. */
  readonly json?: JsonObject;
}

/** Where a folder may have the weights; half precision only where nothing else is. */
const STEM = "diffusion_pytorch_model";
const ENDINGS = [".safetensors", ".fp16.safetensors"];

/**
 * Opens what is at `path`.
 * @throws {ModelNotFoundError} there is nothing, or it has no weights
 * @throws {ModelFileError} a file of it is damaged or of another kind
 */
export function openGiven(path: string, of: GivenKind): Given {
  const { title, className } = of;
  const kind = kindOf(path);
  if (kind === "nothing") throw new ModelNotFoundError(`There is no folder or file ${path} with a ${title}`);
  if (kind === "folder") return openFolder(path, of);
  if (isPickle(path)) throw pickleError(path, `from_single_file(${JSON.stringify(path)})`, className);
  if (!/\.safetensors$/i.test(path)) {
    throw new ModelFileError(path, `a ${title} is a folder in the layout of diffusers or a .safetensors file`);
  }
  return { source: openNamed(path, of.single(path, namesIn(path))), given: filesOf(path, [path]) };
}

function openFolder(path: string, of: GivenKind): Given {
  const folder = of.part !== undefined && isFile(join(path, "model_index.json")) ? inside(path, of.part) : path;
  const configPath = inside(folder, "config.json");
  const json = readJson(configPath);
  const weights = ENDINGS.map((ending) => inside(folder, STEM + ending)).find(isFile);
  if (weights === undefined) throw noWeights(folder, of);
  return { source: openNamed(weights, of.folder), given: filesOf(path, [configPath, weights]), json };
}

function noWeights(folder: string, { title, className }: GivenKind): Error {
  const pickle = entriesIn(folder).map(({ name }) => name).find(isPickle);
  return pickle
    ? pickleError(join(folder, pickle), `from_pretrained(${JSON.stringify(folder)})`, className)
    : new ModelNotFoundError(`The ${title} in ${folder} has no weights: ${STEM}.safetensors is not there`);
}

function namesIn(path: string): readonly string[] {
  // Their types do not matter yet: a whole checkpoint may hold others than we read.
  using file = openSafetensors(path, { ignore: () => true });
  return file.ignored;
}

function openNamed(path: string, naming: Naming): TensorSource {
  using stack = new DisposableStack();
  const file = stack.use(openSafetensors(path, { ignore: (name) => !belongs(naming, name) }));
  const source = renameTensors(file, renameOf(naming, file.tensors.keys()));
  stack.move();
  return source;
}

function filesOf(path: string, files: readonly string[]): GivenFiles {
  let hashes: Readonly<Record<string, string>> | undefined;
  return { path, hashes: () => hashes ??= Object.fromEntries(files.map((file) => [file, sha256Of(file)])) };
}
