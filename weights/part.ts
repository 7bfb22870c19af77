/**
 * Finds and opens the weights of one part of a model folder, in whichever of the usual forms they are.
 * @module
 */
import { basename, dirname, join } from "@std/path";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { isFile } from "./files.ts";
import { type Rename, renameTensors, textEncoderName, unetName, vaeName } from "./names.ts";
import { openSafetensors } from "./safetensors.ts";
import { openShards } from "./shards.ts";
import type { TensorSource } from "./tensor_source.ts";

/** The parts that have weights, as their folders are called. */
export type PartName = "text_encoder" | "unet" | "vae";

interface Part {
  /** What its weight files' names begin with. */
  readonly stem: string;
  readonly rename: Rename;
}

const PARTS: Readonly<Record<PartName, Part>> = {
  text_encoder: { stem: "model", rename: textEncoderName },
  unet: { stem: "diffusion_pytorch_model", rename: unetName },
  vae: { stem: "diffusion_pytorch_model", rename: vaeName },
};

/** Where weights may be; the first that exists is used, so half precision only where nothing else is. */
const ENDINGS = [".safetensors", ".safetensors.index.json", ".fp16.safetensors", ".safetensors.index.fp16.json"];

/** Whether a file's name is that of weights in Python's pickle format. */
export function isPickle(path: string): boolean {
  return /\.(?:ckpt|bin|pt|pth)$/i.test(path);
}

/**
 * Why a pickle is refused, and what to do about it.
 * @param load the call of diffusers' StableDiffusionPipeline that reads it
 */
export function pickleError(path: string, load: string): ModelFileError {
  return new ModelFileError(
    path,
    "a Python pickle can run any program when it is opened, so it is not read; where you trust it, " +
      `convert it with diffusers: StableDiffusionPipeline.${load}.save_pretrained("converted")`,
  );
}

/**
 * Opens the weights in `<directory>/<part>` under canonical names.
 * @throws {ModelNotFoundError} the weights are absent
 * @throws {ModelFileError} the weights are damaged, or only there as a pickle
 */
export function openPart(directory: string, part: PartName): TensorSource {
  const { stem, rename } = PARTS[part];
  const folder = join(directory, part);
  const path = ENDINGS.map((ending) => join(folder, stem + ending)).find(isFile);
  if (path === undefined) throw noWeights(folder, stem);
  const open = path.endsWith(".json") ? openShards : openSafetensors;
  using stack = new DisposableStack();
  const source = stack.use(open(path, { ignore: (name) => rename(name) === undefined }));
  const renamed = renameTensors(source, rename);
  stack.move();
  return renamed;
}

function noWeights(folder: string, stem: string): Error {
  for (const { name } of Deno.readDirSync(folder)) {
    if (!isPickle(name)) continue;
    const load = `from_pretrained(${JSON.stringify(dirname(folder))})`;
    return pickleError(join(folder, name), load);
  }
  return new ModelNotFoundError(
    `The model in ${dirname(folder)} has no weights of its ${basename(folder)}: ${stem}.safetensors is not there`,
  );
}
