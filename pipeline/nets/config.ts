/**
 * A model's JSON as typed configurations: every number that decides a shape, with diffusers' defaults.
 * @module
 */
import { type JsonObject, LIMITS, ModelFileError, type PartName, shown } from "../../weights/mod.ts";

/** The CLIP text encoder (arXiv 2103.00020). */
export interface TextConfig {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly hiddenWidth: number;
  readonly vocabulary: number;
  readonly tokens: number;
  readonly epsilon: number;
  readonly activation: "quick_gelu" | "gelu";
}

export interface UnetBlockConfig {
  readonly channels: number;
  /** Whether transformers follow its residual blocks. */
  readonly attention: boolean;
  readonly heads: number;
  /** Transformer blocks of each of its transformers. */
  readonly depths: readonly number[];
}

/** The half of a UNet that leads down to the lowest resolution, and its middle. */
export interface EncoderConfig {
  readonly inChannels: number;
  /** Residual blocks of a down block; an up block has one more. */
  readonly layers: number;
  /** From the highest resolution to the lowest. */
  readonly down: readonly UnetBlockConfig[];
  /** The middle; absent when the model has none. */
  readonly middle?: UnetBlockConfig;
  readonly contextWidth: number;
  readonly groups: number;
  readonly epsilon: number;
  readonly flipSineToCosine: boolean;
  readonly frequencyShift: number;
  /** What is embedded and added to the timestep (arXiv 2307.01952, section 2.2), if anything is. */
  readonly added?: {
    /** Width of an embedded size. */
    readonly sizeWidth: number;
    /** Width of the pooled text and all embedded sizes together. */
    readonly width: number;
  };
  /** Whether queries and keys of attention must be float32: their products leave float16's range. */
  readonly upcastAttention: boolean;
}

/** The denoising UNet (arXiv 2112.10752). */
export interface UnetConfig extends EncoderConfig {
  readonly outChannels: number;
  /** From the lowest resolution to the highest. */
  readonly up: readonly UnetBlockConfig[];
  /** Width of the embedded guidance scale that comes with the timestep (arXiv 2310.04378, section 4.1), if it has one. */
  readonly guidanceWidth?: number;
}

/** A ControlNet (arXiv 2302.05543): a UNet's encoder half that sees a picture. */
export interface ControlNetConfig extends EncoderConfig {
  /** Channels of the layers that the picture passes through, from its resolution to the latent's. */
  readonly hintChannels: readonly number[];
}

/** What an autoencoder's pictures and latents are like. */
interface LatentConfig {
  readonly imageChannels: number;
  readonly latentChannels: number;
  /** Channels that the encoder makes: means and log variances of the latent's, or those themselves. */
  readonly encodedChannels: number;
  readonly scalingFactor: number;
  /** Pixels of the picture along one pixel of the latent. */
  readonly factor: number;
  /** Side of the pictures that it was trained with. */
  readonly sampleSize: number;
}

/** The variational autoencoder (arXiv 2112.10752). */
export interface KlVaeConfig extends LatentConfig {
  readonly kind: "kl";
  /** Channels of each block, from the picture's resolution to the latent's. */
  readonly channels: readonly number[];
  /** Residual blocks of an encoder block; a decoder block has one more. */
  readonly layers: number;
  readonly groups: number;
  readonly quantConvolution: boolean;
  readonly postQuantConvolution: boolean;
  readonly middleAttention: boolean;
}

/** The tiny autoencoder (TAESD). */
export interface TinyVaeConfig extends LatentConfig {
  readonly kind: "tiny";
  /** Channels of every layer between the ends. */
  readonly width: number;
  /** Blocks of each resolution, from the picture's to the latent's. */
  readonly encoder: readonly number[];
  /** Blocks of each resolution, from the latent's to the picture's. */
  readonly decoder: readonly number[];
}

/** The autoencoder between pictures and latents. */
export type VaeConfig = KlVaeConfig | TinyVaeConfig;

/** Reads values of one JSON object and complains in its name. */
class Reader {
  readonly #file: string;
  readonly #json: JsonObject;

  constructor(file: string, json: JsonObject) {
    this.#file = file;
    this.#json = json;
  }

  fail(key: string, problem: string): never {
    throw new ModelFileError(this.#file, `${key} ${problem}`);
  }

  /** The value, or the default where it is absent or null. */
  value<T>(key: string, fallback: T): unknown | T {
    return this.#json[key] ?? fallback;
  }

  /** A number from `least`, which is 0 or a little more, to `most`. */
  number(key: string, [least, most]: readonly [least: number, most: number], fallback: number): number {
    const value = this.value(key, fallback);
    if (typeof value !== "number") this.fail(key, `is ${shown(value)}, not a number`);
    if (!(value >= least && value <= most)) this.fail(key, `is ${value}, not a number from ${least} to ${most}`);
    return value;
  }

  count(key: string, most: number, fallback?: number): number {
    return this.#checked(key, most, this.value(key, fallback));
  }

  #checked(key: string, most: number, value: unknown): number {
    if (!Number.isInteger(value) || value as number < 1) {
      this.fail(key, `is ${shown(value)}, not a whole number above 0`);
    }
    if (value as number > most) this.fail(key, `is ${value}; at most ${most} is supported`);
    return value as number;
  }

  /** A count that `whole` must be a multiple of. */
  divisor(key: string, whole: number, value: number): number {
    if (whole % value !== 0) this.fail(key, `is ${value}, which does not divide ${whole} channels`);
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    return this.value(key, fallback) === true;
  }

  counts(key: string, most: number, fallback: readonly number[] = []): readonly number[] {
    const value = this.value(key, fallback);
    if (!Array.isArray(value) || value.length === 0) this.fail(key, `is ${shown(value)}, not a list of whole numbers`);
    if (value.length > LIMITS.blocks) {
      this.fail(key, `has a length of ${value.length}; at most ${LIMITS.blocks} is supported`);
    }
    return value.map((count) => this.#checked(key, most, count));
  }

  names(key: string): readonly string[] {
    const value = this.value(key, []);
    if (!Array.isArray(value) || !value.every((name) => typeof name === "string")) {
      this.fail(key, `is ${shown(value)}, not a list of names`);
    }
    return value as string[];
  }

  /** One number for each of `length` blocks, given as a list or as one number for all. */
  perBlock(
    key: string,
    length: number,
    [most, fallback]: readonly [most: number, fallback: number],
  ): readonly number[] {
    const value = this.value(key, fallback);
    if (!Array.isArray(value)) return new Array<number>(length).fill(this.count(key, most, fallback));
    if (value.length !== length) this.fail(key, `has a length of ${value.length}, and there are ${length} blocks`);
    return this.counts(key, most);
  }

  /** {@link perBlock} with a number for each of `count` layers, where a block may have a list of its own. */
  perLayer(key: string, [blocks, count]: readonly [blocks: number, count: number], most: number): readonly number[][] {
    const value = this.value(key, 1);
    const all: readonly unknown[] = Array.isArray(value) ? value : new Array(blocks).fill(value);
    if (all.length !== blocks) this.fail(key, `has a length of ${all.length}, and there are ${blocks} blocks`);
    return all.map((own) => {
      const layers: readonly unknown[] = Array.isArray(own) ? own : new Array(count).fill(own);
      if (layers.length !== count) this.fail(key, `has a list of ${layers.length}, and a block has ${count} layers`);
      return layers.map((layer) => this.#checked(key, most, layer));
    });
  }

  /** Refuses every value but those that are supported. */
  only(key: string, supported: readonly unknown[]): void {
    const value = this.#json[key];
    if (value !== undefined && !supported.includes(value)) {
      this.fail(key, `is ${shown(value)}; supported is ${supported.map((v) => JSON.stringify(v)).join(", ")}`);
    }
  }
}

/** The parts that are text encoders. */
export type TextPart = Extract<PartName, `text_${string}`>;

/** The range of what is added to a variance before its root is taken. */
const EPSILONS = [0, 0.1] as const;

/**
 * Reads the `config.json` of a text encoder.
 *
 * @throws {ModelFileError} when a value is missing, no number or not supported.
 */
export function readTextConfig(json: JsonObject, part: TextPart = "text_encoder"): TextConfig {
  const read = new Reader(`${part}/config.json`, json);
  read.only("hidden_act", ["quick_gelu", "gelu"]);
  const width = read.count("hidden_size", LIMITS.channels);
  return {
    width,
    layers: read.count("num_hidden_layers", LIMITS.layers),
    heads: read.divisor("num_attention_heads", width, read.count("num_attention_heads", LIMITS.channels)),
    hiddenWidth: read.count("intermediate_size", LIMITS.channels),
    ...readTokenLimits(json, part),
    epsilon: read.number("layer_norm_eps", EPSILONS, 1e-5),
    activation: read.value("hidden_act", "quick_gelu") as "quick_gelu" | "gelu",
  };
}

/**
 * Width of the pooled text that the second text encoder's projection writes.
 *
 * @throws {ModelFileError} when it is no number or not supported.
 */
export function readProjectionWidth(json: JsonObject): number {
  return new Reader("text_encoder_2/config.json", json).count("projection_dim", LIMITS.channels, 512);
}

/**
 * The part of a text encoder's `config.json` that a tokenizer must fit.
 *
 * @throws {ModelFileError} when a value is missing, no number or not supported.
 */
export function readTokenLimits(
  json: JsonObject,
  part: TextPart = "text_encoder",
): Pick<TextConfig, "vocabulary" | "tokens"> {
  const read = new Reader(`${part}/config.json`, json);
  return {
    vocabulary: read.count("vocab_size", LIMITS.vocabulary),
    tokens: read.count("max_position_embeddings", LIMITS.tokens, 77),
  };
}

const DOWN_BLOCKS = ["DownBlock2D", "CrossAttnDownBlock2D"];
const UP_BLOCKS = ["UpBlock2D", "CrossAttnUpBlock2D"];
const MIDDLE_BLOCKS = ["UNetMidBlock2DCrossAttn", "UNetMidBlock2D", null];

/**
 * Reads `unet/config.json`. `attention_head_dim` means the number of heads, as in all of Stable Diffusion, unless
 * `num_attention_heads` says it.
 *
 * @throws {ModelFileError} when a value is missing, no number or not supported.
 */
export function readUnetConfig(json: JsonObject): UnetConfig {
  const read = new Reader("unet/config.json", json);
  const { block, ...encoder } = readEncoderConfig(read, json);
  const { down, layers } = encoder;
  const depths = readUpDepths(read, down.map((block) => block.depths), layers);
  const types = blockTypes(read, "up_block_types", [UP_BLOCKS, down.length]);
  return {
    ...encoder,
    outChannels: read.count("out_channels", LIMITS.channels, 4),
    up: types.map((name, i) => block(name, down.length - 1 - i, depths[i]!)),
    ...(json.time_cond_proj_dim != null && { guidanceWidth: read.count("time_cond_proj_dim", LIMITS.channels) }),
  };
}

/**
 * Reads the `config.json` of a ControlNet, `file`, and holds it against the UNet that it is for.
 *
 * @throws {ModelFileError} when a value is missing, no number or not supported, or it is another UNet's.
 */
export function readControlNetConfig(
  file: string,
  json: JsonObject,
  { unet, factor }: { readonly unet: UnetConfig; readonly factor: number },
): ControlNetConfig {
  const read = new Reader(file, json);
  read.only("_class_name", ["ControlNetModel"]);
  const fit = (what: string, own: unknown, wanted: unknown) => {
    const [is, must] = [own, wanted].map((value) => [value].flat().join(", "));
    if (is === must) return;
    throw new ModelFileError(
      file,
      `this is another model's ControlNet: it ${what} ${is}, and the model's UNet ${must}`,
    );
  };
  // First: where these differ, what else does would only confuse.
  fit("reads a context of width", read.count("cross_attention_dim", LIMITS.channels, 1280), unet.contextWidth);
  const widths = unet.down.map(({ channels }) => channels);
  fit("has channels in its blocks of", read.counts("block_out_channels", LIMITS.channels), widths);
  read.only("controlnet_conditioning_channel_order", ["rgb"]);
  read.only("conditioning_channels", [3]);
  read.only("global_pool_conditions", [false, null]);
  const { block: _, ...encoder } = readEncoderConfig(read, json);
  const hintChannels = read.counts("conditioning_embedding_out_channels", LIMITS.channels, [16, 32, 96, 256]);
  fit("reads latents of channels", encoder.inChannels, unet.outChannels);
  fit("has residual blocks in a block", encoder.layers, unet.layers);
  fit("adds to a timestep values", encoder.added?.width ?? 0, unet.added?.width ?? 0);
  const embedding = ({ flipSineToCosine, frequencyShift }: EncoderConfig) => [flipSineToCosine, frequencyShift];
  fit("has flip_sin_to_cos and freq_shift", embedding(encoder), embedding(unet));
  const own = 2 ** (hintChannels.length - 1);
  if (own === factor) return { ...encoder, hintChannels };
  throw new ModelFileError(file, `this ControlNet makes pictures smaller by ${own}, and the model's VAE by ${factor}`);
}

/** What a UNet and its encoder half alone have in common, and what makes a block of its type, place and depths. */
function readEncoderConfig(read: Reader, json: JsonObject) {
  read.only("act_fn", ["silu", "swish"]);
  read.only("resnet_time_scale_shift", ["default"]);
  read.only("mid_block_scale_factor", [1]);
  read.only("downsample_padding", [1]);
  read.only("mid_block_type", MIDDLE_BLOCKS);
  for (const key of ["conv_in_kernel", "conv_out_kernel"]) read.only(key, [3]);
  for (
    const key of ["center_input_sample", "only_cross_attention", "dual_cross_attention", "class_embeddings_concat"]
  ) {
    read.only(key, [false, null]);
  }
  for (const key of ["class_embed_type", "encoder_hid_dim_type"]) read.only(key, [null]);
  read.only("addition_embed_type", [null, "text_time"]);
  read.only("time_embedding_type", ["positional"]);
  const channels = read.counts("block_out_channels", LIMITS.channels);
  const groups = read.count("norm_num_groups", LIMITS.channels, 32);
  for (const width of channels) read.divisor("norm_num_groups", width, groups);
  const headKey = json.num_attention_heads == null ? "attention_head_dim" : "num_attention_heads";
  const heads = read.perBlock(headKey, channels.length, [LIMITS.channels, 8]);
  const layers = read.count("layers_per_block", LIMITS.residuals, 2);
  const depths = read.perLayer("transformer_layers_per_block", [channels.length, layers], LIMITS.depth);
  const block = (name: string, i: number, depths: readonly number[]): UnetBlockConfig => ({
    channels: channels[i]!,
    attention: name.startsWith("CrossAttn"),
    heads: name.startsWith("CrossAttn") ? read.divisor(headKey, channels[i]!, heads[i]!) : heads[i]!,
    depths,
  });
  const last = channels.length - 1;
  const types = blockTypes(read, "down_block_types", [DOWN_BLOCKS, channels.length]);
  return {
    block,
    inChannels: read.count("in_channels", LIMITS.channels, 4),
    layers,
    down: types.map((name, i) => block(name, i, depths[i]!)),
    ...(json.mid_block_type !== null && {
      middle: block(json.mid_block_type === "UNetMidBlock2D" ? "" : "CrossAttn", last, [depths[last]![0]!]),
    }),
    contextWidth: read.count("cross_attention_dim", LIMITS.channels, 1280),
    groups,
    epsilon: read.number("norm_eps", EPSILONS, 1e-5),
    flipSineToCosine: read.flag("flip_sin_to_cos", true),
    frequencyShift: read.number("freq_shift", [0, 1], 0),
    ...(json.addition_embed_type === "text_time" && {
      added: {
        sizeWidth: read.count("addition_time_embed_dim", LIMITS.channels),
        width: read.count("projection_class_embeddings_input_dim", LIMITS.channels),
      },
    }),
    upcastAttention: read.flag("upcast_attention", false),
  };
}

function blockTypes(
  read: Reader,
  key: string,
  [known, count]: readonly [known: readonly string[], count: number],
): readonly string[] {
  const names = read.names(key);
  if (names.length !== count) read.fail(key, `has a length of ${names.length}, and there are ${count} blocks`);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) read.fail(key, `names ${shown(unknown)}; supported are ${known.join(", ")}`);
  return names;
}

/** How deep the transformers of each up block are, where those of down blocks are `down`: they mirror them unless they say. */
function readUpDepths(
  read: Reader,
  down: readonly (readonly number[])[],
  layers: number,
): readonly (readonly number[])[] {
  const [key, upKey] = ["transformer_layers_per_block", "reverse_transformer_layers_per_block"];
  if (read.value(upKey!, undefined) !== undefined) {
    return read.perLayer(upKey!, [down.length, layers + 1], LIMITS.depth);
  }
  if (down.some((own) => new Set(own).size > 1)) read.fail(upKey!, `is nothing, but ${key} differs within a block`);
  return down.toReversed().map((own) => [...own, own[0]!]);
}

/**
 * Reads `vae/config.json`.
 *
 * @throws {ModelFileError} when a value is missing, no number or not supported.
 */
export function readVaeConfig(json: JsonObject): VaeConfig {
  const read = new Reader("vae/config.json", json);
  read.only("_class_name", ["AutoencoderKL", "AutoencoderTiny"]);
  read.only("shift_factor", [null, 0]);
  const common = {
    imageChannels: read.count("out_channels", LIMITS.channels, 3),
    sampleSize: read.count("sample_size", LIMITS.side, 512),
  };
  return json._class_name === "AutoencoderTiny" ? { ...common, ...readTiny(read) } : { ...common, ...readKl(read) };
}

type Own<Config extends VaeConfig> = Omit<Config, "imageChannels" | "sampleSize">;

function readKl(read: Reader): Own<KlVaeConfig> {
  read.only("act_fn", ["silu", "swish"]);
  const channels = read.counts("block_out_channels", LIMITS.channels);
  const groups = read.count("norm_num_groups", LIMITS.channels, 32);
  for (const width of channels) read.divisor("norm_num_groups", width, groups);
  for (const [key, name] of [["down_block_types", "DownEncoderBlock2D"], ["up_block_types", "UpDecoderBlock2D"]]) {
    const other = read.names(key!).find((type) => type !== name);
    if (other !== undefined) read.fail(key!, `names ${shown(other)}; supported is ${name}`);
  }
  const latentChannels = read.count("latent_channels", LIMITS.channels, 4);
  return {
    kind: "kl",
    latentChannels,
    encodedChannels: 2 * latentChannels,
    channels,
    layers: read.count("layers_per_block", LIMITS.residuals, 1),
    groups,
    scalingFactor: read.number("scaling_factor", [1e-3, 1e3], 0.18215),
    quantConvolution: read.flag("use_quant_conv", true),
    postQuantConvolution: read.flag("use_post_quant_conv", true),
    middleAttention: read.flag("mid_block_add_attention", true),
    factor: 2 ** (channels.length - 1),
  };
}

function readTiny(read: Reader): Own<TinyVaeConfig> {
  read.only("act_fn", ["relu"]);
  read.only("upsample_fn", ["nearest"]);
  read.only("upsampling_scaling_factor", [2]);
  const encoder = read.counts("num_encoder_blocks", LIMITS.residuals, [1, 3, 3, 3]);
  const decoder = read.counts("num_decoder_blocks", LIMITS.residuals, [3, 3, 3, 1]);
  const levels = decoder.length;
  if (encoder.length !== levels) {
    read.fail("num_encoder_blocks", `has a length of ${encoder.length}, and the decoder has ${levels} resolutions`);
  }
  const widths = ["encoder_block_out_channels", "decoder_block_out_channels"].flatMap((key) =>
    read.perBlock(key, levels, [LIMITS.channels, 64])
  );
  const width = widths[0]!;
  const other = widths.find((count) => count !== width);
  if (other !== undefined) {
    read.fail("encoder_block_out_channels", `is ${width}, and elsewhere ${other}; supported is one number for all`);
  }
  const latentChannels = read.count("latent_channels", LIMITS.channels, 4);
  return {
    kind: "tiny",
    latentChannels,
    encodedChannels: latentChannels,
    scalingFactor: read.number("scaling_factor", [1e-3, 1e3], 1),
    width,
    encoder,
    decoder,
    factor: 2 ** (levels - 1),
  };
}
