/**
 * Opens a VAE that takes the place of a model's own: a folder of diffusers, or one file in diffusers' naming, in the
 * original one or in that of the tiny autoencoder's authors.
 * @module
 */
import { join } from "@std/path";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { entriesIn, inside, isFile, kindOf, readJson, sha256Of } from "./files.ts";
import type { JsonObject } from "./json.ts";
import { belongs, type Naming, partEntry, renameOf } from "./manifest.ts";
import type { GivenVae } from "./model.ts";
import { renameTensors, vaeName } from "./names.ts";
import { vaeNames } from "./ldm_names.ts";
import { isPickle, pickleError } from "./pickle.ts";
import { openSafetensors } from "./safetensors.ts";
import { vaeConfigOfShapes } from "./shape_config.ts";
import type { TensorSource } from "./tensor_source.ts";

/** A VAE outside of a model; disposing of {@link OpenedVae.source} closes its files. */
export interface OpenedVae {
  readonly source: TensorSource;
  readonly given: GivenVae;
  /** Its `config.json`, or what its shapes say; the rest is that of the VAE whose place it takes, `own`. */
  config(own: JsonObject): JsonObject;
}

/** Where a folder may have the weights; half precision only where nothing else is. */
const ENDINGS = [".safetensors", ".fp16.safetensors"];

const BARE: Naming = {
  prefix: "",
  stray: /^(?:loss|model_ema)\./,
  rename(names) {
    const original = vaeNames(names);
    return (name) => {
      const renamed = original(name);
      return typeof renamed === "string" ? vaeName(renamed) : renamed;
    };
  },
};

/** A layer or a block of the tiny autoencoder's decoder, which its authors count from the clamp before the first layer on. */
export const AUTHORS_LAYER = /^(\d{1,3})\.(?=(?:conv\.\d\.)?(?:weight|bias)$)/;

const AUTHORS: Naming = {
  prefix: "",
  rename: () => (name) => name.replace(AUTHORS_LAYER, (_, number) => `decoder.layers.${Number(number) - 1}.`),
};

/**
 * Opens the VAE at `path`.
 * @throws {ModelNotFoundError} there is none, or it has no weights
 * @throws {ModelFileError} a file of it is damaged, or it has no decoder
 */
export function openVae(path: string): OpenedVae {
  const kind = kindOf(path);
  if (kind === "nothing") throw new ModelNotFoundError(`There is no folder or file ${path} with a VAE`);
  if (kind === "folder") return openFolder(path);
  if (isPickle(path)) throw pickleError(path, `from_single_file(${JSON.stringify(path)})`, "AutoencoderKL");
  if (/\.safetensors$/i.test(path)) return openSingle(path);
  throw new ModelFileError(path, "a VAE is a folder in the layout of diffusers or a .safetensors file");
}

/** A VAE's folder, or that of a model, whose VAE is meant. */
function openFolder(path: string): OpenedVae {
  const folder = isFile(join(path, "model_index.json")) ? inside(path, "vae") : path;
  const configPath = inside(folder, "config.json");
  const config = readJson(configPath);
  const { stem, folder: naming } = partEntry("vae");
  const weights = ENDINGS.map((ending) => inside(folder, stem + ending)).find(isFile);
  if (weights === undefined) throw noWeights(folder, `${stem}.safetensors`);
  const source = openNamed(weights, naming);
  return { source, given: givenVae(path, [configPath, weights]), config: () => config };
}

function noWeights(folder: string, wanted: string): Error {
  const pickle = entriesIn(folder).map(({ name }) => name).find(isPickle);
  return pickle
    ? pickleError(join(folder, pickle), `from_pretrained(${JSON.stringify(folder)})`, "AutoencoderKL")
    : new ModelNotFoundError(`The VAE in ${folder} has no weights: ${wanted} is not there`);
}

function openSingle(path: string): OpenedVae {
  const source = openNamed(path, namingOf(path));
  if (source.tensors.keys().some((name) => name.startsWith("decoder."))) {
    return { source, given: givenVae(path, [path]), config: (own) => vaeConfigOfShapes(source.tensors, own) };
  }
  source[Symbol.dispose]();
  throw new ModelFileError(path, "the file holds no decoder of a VAE, so no picture can be made with it");
}

/** The naming that a file has, told by its names. */
function namingOf(path: string): Naming {
  // Their types do not matter yet: a whole checkpoint may hold others than we read.
  using file = openSafetensors(path, { ignore: () => true });
  const { ignored: names } = file;
  const [checkpoint] = partEntry("vae").checkpoint;
  if (checkpoint && names.some((name) => name.startsWith(checkpoint.prefix))) return checkpoint;
  // The authors' encoder begins with layer 0, which in their decoder has no weights.
  const areAuthors = names.every((name) => AUTHORS_LAYER.test(name)) && !names.includes("0.weight");
  return areAuthors ? AUTHORS : BARE;
}

function openNamed(path: string, naming: Naming): TensorSource {
  using stack = new DisposableStack();
  const file = stack.use(openSafetensors(path, { ignore: (name) => !belongs(naming, name) }));
  const source = renameTensors(file, renameOf(naming, file.tensors.keys()));
  stack.move();
  return source;
}

function givenVae(path: string, files: readonly string[]): GivenVae {
  let hashes: Readonly<Record<string, string>> | undefined;
  return { path, hashes: () => hashes ??= Object.fromEntries(files.map((file) => [file, sha256Of(file)])) };
}
