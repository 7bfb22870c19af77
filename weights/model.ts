/**
 * A model as it lies in its files: configurations, named tensors, tokenizer.
 * @module
 */
import type { JsonObject } from "./json.ts";
import type { ByPart } from "./manifest.ts";
import type { TensorSource } from "./tensor_source.ts";
import type { TokenizerFiles } from "./tokenizer_files.ts";

/** The `config.json` of each part, `scheduler/scheduler_config.json`, and `model_index.json` where there is one. */
export interface ModelConfig extends ByPart<JsonObject> {
  readonly scheduler: JsonObject;
  readonly index?: JsonObject;
}

/** What a model's own `denoise.json` says of how it wants to draw; what it leaves out is its family's concern. */
export interface ModelSettings {
  /** Denoising steps. */
  readonly steps?: number;
  /** Classifier-free guidance scale. */
  readonly guidance?: number;
  /** Width of a picture in pixels. */
  readonly width?: number;
  /** Height of a picture in pixels. */
  readonly height?: number;
  /** Whether prompts that the text encoder cannot hold are read in chunks, or cut. */
  readonly longPrompt?: "chunk" | "truncate";
  /** What the model can draw, in one line. */
  readonly knows?: string;
  /** Colours of previews: red, green and blue, -1 to 1, of each channel of a latent, and of a constant. */
  readonly latentToRgb?: readonly (readonly number[])[];
}

/** Files that were given beside a model: a VAE that takes the place of its own, or a ControlNet. */
export interface GivenFiles {
  /** Where it was found, as it was given. */
  readonly path: string;
  /**
   * SHA-256 of its files by their paths; they are read once, when it is first asked for.
   *
   * @throws {ModelNotFoundError} when a file is gone by then.
   */
  hashes(): Readonly<Record<string, string>>;
}

/** The files of a model; disposing of it closes them. */
export interface ModelFiles extends Disposable {
  /** The name it was opened by, or that of its folder or file. */
  readonly name: string;
  /** The folder it lies in. */
  readonly directory: string;
  /**
   * How its parts are built.
   * @internal
   */
  readonly config: ModelConfig;
  /**
   * Weights of its parts.
   * @internal
   */
  readonly parts: ByPart<TensorSource>;
  /**
   * Files of the tokenizer.
   * @internal
   */
  readonly tokenizer: TokenizerFiles;
  /**
   * Files of the second text encoder's tokenizer, where the model has one.
   * @internal
   */
  readonly tokenizer_2?: TokenizerFiles;
  /**
   * The settings it wants.
   * @internal
   */
  readonly settings: ModelSettings;
  /** The VAE that takes the place of its own, if any does; {@link config} and {@link parts} have it. */
  readonly givenVae?: GivenFiles;
}

/** How a model is opened. */
export interface ModelOptions {
  /** A folder with the tokenizer to use instead of the model's own. */
  readonly tokenizer?: string | undefined;
  /** A folder or file with the VAE to use instead of the model's own. */
  readonly vae?: string | undefined;
  /** Reads the variables that say where downloaded models are; default the process's own. */
  readonly variable?: ((name: string) => string | undefined) | undefined;
}
