/**
 * Opens a ControlNet: a folder of diffusers, or one file in diffusers' naming or in the original one.
 * @module
 */
import { otherKind } from "./checkpoint_kinds.ts";
import { ModelFileError } from "./errors.ts";
import { type GivenKind, openGiven } from "./given.ts";
import type { JsonObject } from "./json.ts";
import { controlNetNames } from "./ldm_names.ts";
import type { Naming } from "./manifest.ts";
import type { GivenFiles } from "./model.ts";
import { controlNetConfigOfShapes } from "./shape_config.ts";
import { readTarget, type TensorSource } from "./tensor_source.ts";
import { toFloat32 } from "./values.ts";

/** A ControlNet; disposing of {@link OpenedControlNet.source} closes its files. */
export interface OpenedControlNet {
  readonly source: TensorSource;
  readonly given: GivenFiles;
  /** Its `config.json`, or what its shapes say; the rest is that of the UNet that it is for, `unet`. */
  config(unet: JsonObject): JsonObject;
}

const DIFFUSERS: Naming = { prefix: "", rename: () => (name) => name };

/** Whole checkpoints and most files have the prefix; some that were cut out of them do not. */
const ORIGINAL: readonly Naming[] = ["control_model.", ""].map((prefix) => ({ prefix, rename: controlNetNames }));

const CONTROL_NET: GivenKind = {
  title: "ControlNet",
  className: "ControlNetModel",
  folder: DIFFUSERS,
  single(path, names) {
    const has = (start: string) => names.some((name) => name.startsWith(start));
    const naming = has("controlnet_cond_embedding.")
      ? DIFFUSERS
      : ORIGINAL.find(({ prefix }) => has(`${prefix}input_hint_block.`));
    if (naming) return naming;
    const said = otherKind(names, new Map())?.said;
    const wanted = "(controlnet_cond_embedding.* or input_hint_block.*)";
    throw new ModelFileError(
      path,
      said ? `this is ${said}, not a ControlNet` : `the file holds no ControlNet ${wanted}`,
    );
  },
};

/**
 * Opens the ControlNet at `path`.
 * @throws {ModelNotFoundError} there is none, or it has no weights
 * @throws {ModelFileError} a file of it is damaged, or it is none
 */
export function openControlNet(path: string): OpenedControlNet {
  const { source, given, json } = openGiven(path, CONTROL_NET);
  return { source, given, config: (unet) => json ?? controlNetConfigOfShapes(source.tensors, unet) };
}

/** The tensors of `source`, of which those that are `scaled` are F32 and multiplied by `factor`; it closes nothing. */
export function scaleTensors(source: TensorSource, scaled: ReadonlySet<string>, factor: number): TensorSource {
  const tensors = new Map(
    Array.from(source.tensors, ([name, info]) => {
      const bytes = 4 * info.shape.reduce((a, b) => a * b, 1);
      return [name, scaled.has(name) ? { ...info, dtype: "F32", bytes } as const : info];
    }),
  );
  const read: TensorSource["read"] = (name, options) => {
    if (!scaled.has(name)) return source.read(name, options);
    const { begin, into } = readTarget(tensors.get(name)!, options);
    const values = toFloat32(source.tensors.get(name)!, source.read(name)).map((value) => value * factor);
    into.set(new Uint8Array(values.buffer, begin, into.length));
    return into;
  };
  return {
    ...source,
    tensors,
    read,
    readAsync: (name, options) => scaled.has(name) ? Promise.try(read, name, options) : source.readAsync(name, options),
    [Symbol.dispose]() {},
  };
}
