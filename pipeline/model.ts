/**
 * A model that can be drawn with: its files, its family, and what it wants when nobody says otherwise.
 * @module
 */
import {
  type JsonObject,
  LIMITS,
  ModelFileError,
  type ModelFiles,
  type ModelOptions,
  openFiles,
  shown,
  type TokenizerFiles,
} from "../weights/mod.ts";
import type { Family } from "./families/family.ts";
import { type ControlNet, openControlNet } from "./controlnets.ts";
import { familyOf } from "./families/table.ts";
import { readTokenLimits, readVaeConfig, type VaeConfig } from "./nets/config.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

/** The settings that a model wants. */
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
}

/** An opened model; disposing of it closes its files. */
export interface Model extends ModelFiles {
  /** The family that it is of. */
  readonly family: Family;
  /** The settings it wants: its own, then its family's. */
  readonly defaults: ModelDefaults;
  /** The ControlNets that were opened with it. */
  readonly controlNets: readonly ControlNet[];
}

/** How a model is opened, and what beside it. */
export interface OpenOptions extends ModelOptions {
  /** Folders or files with ControlNets for it. */
  readonly controlNets?: readonly string[] | undefined;
}

/**
 * Opens an embedded model by its name, a diffusers folder or a safetensors checkpoint by its path, or a downloaded
 * repository by its name, `organisation/name` or `organisation/name@revision`; the first that is there is meant, so
 * `./name` is always a path.
 * @throws {ModelNotFoundError} there is no such model, or a part of it is absent
 * @throws {ModelFileError} a file of it is damaged or of an unsupported kind
 */
export function openModel(name: string, options: OpenOptions = {}): Model {
  const { controlNets: paths = [] } = options;
  if (paths.length > LIMITS.controls) {
    throw new RangeError(`There are ${paths.length} ControlNets; at most ${LIMITS.controls} are opened`);
  }
  using stack = new DisposableStack();
  const model = describeFiles(stack.use(openFiles(name, options)));
  const controlNets = paths.map((path) => stack.use(openControlNet(path, model)));
  const opened = stack.move();
  return { ...model, controlNets, [Symbol.dispose]: () => opened.dispose() };
}

/** The model in these files. */
export function describeFiles(files: ModelFiles): Model {
  const { config, settings } = files;
  const family = familyOf(config);
  const vae = readVaeConfig(config.vae);
  if (files.givenVae) checkLatents(files.givenVae.path, vae, files);
  const { factor } = vae;
  const native = () => nativeSide(files) * factor;
  const { width = native(), height = native(), latentToRgb: _, ...own } = settings;
  for (const [key, side] of Object.entries({ width, height })) {
    if (side % factor === 0 && side <= LIMITS.side) continue;
    throw new ModelFileError("denoise.json", `${key} is ${side}, not a multiple of ${factor} up to ${LIMITS.side}`);
  }
  return { ...files, family, defaults: { ...family.defaults, ...own, width, height }, controlNets: [] };
}

/**
 * Holds a VAE from elsewhere, at `path`, against the model's latents.
 *
 * @throws {ModelFileError} when it decodes others.
 */
export function checkLatents(path: string, { latentChannels }: VaeConfig, { name, config }: ModelFiles): void {
  const { out_channels: channels = 4 } = config.unet;
  if (latentChannels === channels) return;
  const makes = `and the UNet of ${name} makes latents of ${shown(channels)}`;
  throw new ModelFileError(path, `this VAE decodes latents of ${latentChannels} channels, ${makes}`);
}

/** Pixels along a side of the latents that the UNet was trained with. */
function nativeSide({ config: { unet, vae } }: ModelFiles): number {
  const { sample_size: side } = unet;
  const most = LIMITS.side / readVaeConfig(vae).factor;
  if (Number.isSafeInteger(side) && side as number > 0 && side as number <= most) return side as number;
  throw new ModelFileError("unet/config.json", `sample_size is ${shown(side)}, not a whole number from 1 to ${most}`);
}

const tokenizers = new WeakMap<TokenizerFiles, Promise<Tokenizer>>();

/**
 * A model's tokenizer, that of its first text encoder, which is made once.
 *
 * @throws {ModelFileError} when its files cannot be read, or do not fit the text encoder.
 */
export function tokenizerOf({ tokenizer, config }: Pick<ModelFiles, "tokenizer" | "config">): Promise<Tokenizer> {
  return loadOnce(tokenizer, config.text_encoder);
}

/**
 * The tokenizers of all of a model's text encoders.
 *
 * @throws {ModelFileError} as {@link tokenizerOf}.
 */
export function tokenizersOf(model: Pick<ModelFiles, "tokenizer" | "tokenizer_2" | "config">): Promise<Tokenizer[]> {
  const { tokenizer_2: second, config: { text_encoder_2: encoder } } = model;
  return Promise.all([tokenizerOf(model), ...(second && encoder ? [loadOnce(second, encoder)] : [])]);
}

function loadOnce(files: TokenizerFiles, textEncoder: JsonObject): Promise<Tokenizer> {
  let made = tokenizers.get(files);
  if (!made) tokenizers.set(files, made = loadFitting(files, textEncoder));
  return made;
}

async function loadFitting(files: TokenizerFiles, textEncoder: JsonObject): Promise<Tokenizer> {
  const { tokens, vocabulary } = readTokenLimits(textEncoder);
  const tokenizer = await loadTokenizer(files);
  const { maxLength, begin, end, padding } = tokenizer;
  if (maxLength > tokens) {
    throw new ModelFileError("tokenizer", `makes ${maxLength} tokens of a prompt; the text encoder reads ${tokens}`);
  }
  const largest = Math.max(begin, end, padding);
  if (largest < vocabulary) return tokenizer;
  throw new ModelFileError("tokenizer", `has a token ${largest}; the text encoder's vocabulary has ${vocabulary}`);
}
