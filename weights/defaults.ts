/**
 * The settings a model wants when nobody says otherwise: they belong to the model, not to the tool.
 * @module
 */
import { join } from "@std/path";
import { ModelFileError } from "./errors.ts";
import { isFile, readJson } from "./files.ts";
import { type JsonObject, shown } from "./json.ts";

/** A model's own settings. */
export interface ModelDefaults {
  /** Denoising steps. */
  readonly steps: number;
  /** Classifier-free guidance scale. */
  readonly guidance: number;
  /** Width of a picture in pixels. */
  readonly width: number;
  /** Height of a picture in pixels. */
  readonly height: number;
  /** Whether prompts that the text encoder cannot hold are read in chunks, or cut. */
  readonly longPrompt: "chunk" | "truncate";
  /** What the model can draw, in one line, when it says so. */
  readonly knows?: string;
  /**
   * How previews are coloured, where the VAE is not that of Stable Diffusion 1.x: for each channel of a latent, and at
   * last for a constant, red, green and blue, -1 to 1.
   */
  readonly latentToRgb?: readonly (readonly number[])[];
}

/**
 * Reads `denoise.json` from a model folder; what it leaves out, or all where there is none, is as Stable
 * Diffusion 1.x has it: 20 steps, guidance 7.5, long prompts in chunks, and the size the UNet was trained for.
 * @param config the UNet's and the VAE's `config.json`
 * @throws {ModelFileError} a setting is out of range, or the configuration does not give a size
 */
export function readDefaults(
  directory: string,
  config: { readonly unet: JsonObject; readonly vae: JsonObject },
): ModelDefaults {
  const path = join(directory, "denoise.json");
  const own = isFile(path) ? readJson(path) : {};
  const { steps = 20, guidance = 7.5, longPrompt = "chunk", knows, latentToRgb } = own;
  const { width = nativeSize(), height = nativeSize() } = own;
  if (typeof guidance !== "number" || !(guidance >= 0 && guidance < Infinity)) {
    throw new ModelFileError(path, `guidance is ${shown(guidance)}`);
  }
  if (longPrompt !== "chunk" && longPrompt !== "truncate") {
    throw new ModelFileError(path, `longPrompt is ${shown(longPrompt)}, not chunk or truncate`);
  }
  if (knows !== undefined && typeof knows !== "string") {
    throw new ModelFileError(path, `knows is ${shown(knows)}, not a string`);
  }
  const { latent_channels: channels = 4 } = config.vae;
  if (latentToRgb !== undefined && !isColourMap(latentToRgb, channels)) {
    throw new ModelFileError(path, `latentToRgb is not three numbers for each of ${channels} channels and a constant`);
  }
  return {
    steps: positive(path, "steps", steps),
    guidance,
    longPrompt,
    width: positive(path, "width", width),
    height: positive(path, "height", height),
    ...(knows === undefined ? {} : { knows }),
    ...(latentToRgb === undefined ? {} : { latentToRgb }),
  };

  /** The latent's side times the VAE's factor: each of its blocks but the last doubles the picture. */
  function nativeSize(): number {
    const file = join(directory, "unet", "config.json");
    const side = positive(file, "sample_size", config.unet.sample_size);
    const { block_out_channels: blocks } = config.vae;
    if (Array.isArray(blocks)) return side * 2 ** (blocks.length - 1);
    throw new ModelFileError(join(directory, "vae", "config.json"), "block_out_channels is not a list");
  }
}

function isColourMap(value: unknown, channels: unknown): value is readonly (readonly number[])[] {
  return Array.isArray(value) && value.length - 1 === channels &&
    value.every((row) => Array.isArray(row) && row.length === 3 && row.every(Number.isFinite));
}

function positive(file: string, key: string, value: unknown): number {
  if (Number.isSafeInteger(value) && value as number > 0) {
    return value as number;
  }
  throw new ModelFileError(file, `${key} is ${shown(value)}, not a whole number above 0`);
}
