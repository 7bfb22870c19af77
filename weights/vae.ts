/**
 * Opens a VAE that takes the place of a model's own: a folder of diffusers, or one file in diffusers' naming, in the
 * original one or in that of the tiny autoencoder's authors.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { type GivenKind, openGiven } from "./given.ts";
import type { JsonObject } from "./json.ts";
import { vaeNames } from "./ldm_names.ts";
import { type Naming, partEntry } from "./manifest.ts";
import type { GivenFiles } from "./model.ts";
import { vaeName } from "./names.ts";
import { vaeConfigOfShapes } from "./shape_config.ts";
import type { TensorSource } from "./tensor_source.ts";

/** A VAE outside of a model; disposing of {@link OpenedVae.source} closes its files. */
export interface OpenedVae {
  readonly source: TensorSource;
  readonly given: GivenFiles;
  /** Its `config.json`, or what its shapes say; the rest is that of the VAE whose place it takes, `own`. */
  config(own: JsonObject): JsonObject;
}

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

const VAE: GivenKind = {
  title: "VAE",
  className: "AutoencoderKL",
  folder: partEntry("vae").folder,
  part: "vae",
  single(_, names) {
    const [checkpoint] = partEntry("vae").checkpoint;
    if (checkpoint && names.some((name) => name.startsWith(checkpoint.prefix))) return checkpoint;
    // The authors' encoder begins with layer 0, which in their decoder has no weights.
    const areAuthors = names.every((name) => AUTHORS_LAYER.test(name)) && !names.includes("0.weight");
    return areAuthors ? AUTHORS : BARE;
  },
};

/**
 * Opens the VAE at `path`: its folder, or that of a model, whose VAE is meant, or a file.
 * @throws {ModelNotFoundError} there is none, or it has no weights
 * @throws {ModelFileError} a file of it is damaged, or it has no decoder
 */
export function openVae(path: string): OpenedVae {
  const { source, given, json } = openGiven(path, VAE);
  if (json) return { source, given, config: () => json };
  if (source.tensors.keys().some((name) => name.startsWith("decoder."))) {
    return { source, given, config: (own) => vaeConfigOfShapes(source.tensors, own) };
  }
  source[Symbol.dispose]();
  throw new ModelFileError(path, "the file holds no decoder of a VAE, so no picture can be made with it");
}
