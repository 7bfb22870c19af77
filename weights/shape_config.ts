/**
 * The configuration of a model whose file holds none: its shapes tell how wide and deep it is, the rest is what all
 * models of the same context have in common.
 * @module
 */
import type { JsonObject } from "./json.ts";
import { LIMITS } from "./limits.ts";
import type { ByPart } from "./manifest.ts";
import type { ModelConfig } from "./model.ts";
import type { TensorInfo } from "./tensor_source.ts";

type Tensors = ReadonlyMap<string, TensorInfo>;

/** Stable Diffusion 1.4, with OpenAI's CLIP; its sizes stand where a tensor that tells is missing. */
export const VERSION_1: ModelConfig = {
  text_encoder: {
    hidden_act: "quick_gelu",
    hidden_size: 768,
    intermediate_size: 3072,
    layer_norm_eps: 1e-5,
    max_position_embeddings: 77,
    num_attention_heads: 12,
    num_hidden_layers: 12,
    vocab_size: 49408,
  },
  unet: {
    attention_head_dim: 8,
    block_out_channels: [320, 640, 1280, 1280],
    cross_attention_dim: 768,
    down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    in_channels: 4,
    layers_per_block: 2,
    mid_block_type: "UNetMidBlock2DCrossAttn",
    out_channels: 4,
    sample_size: 64,
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  },
  vae: {
    block_out_channels: [128, 256, 512, 512],
    latent_channels: 4,
    layers_per_block: 2,
    out_channels: 3,
    scaling_factor: 0.18215,
  },
  scheduler: {
    _class_name: "PNDMScheduler",
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    beta_start: 0.00085,
    num_train_timesteps: 1000,
    skip_prk_steps: true,
    steps_offset: 1,
  },
};

/** Version 2, with OpenCLIP's ViT-H: 64 channels a head, attention in float32. */
const VERSION_2: ModelConfig = {
  ...VERSION_1,
  text_encoder: {
    ...VERSION_1.text_encoder,
    hidden_act: "gelu",
    hidden_size: 1024,
    intermediate_size: 4096,
    num_attention_heads: 16,
    num_hidden_layers: 23,
  },
  unet: {
    ...VERSION_1.unet,
    attention_head_dim: [5, 10, 20, 20],
    cross_attention_dim: 1024,
    upcast_attention: true,
    use_linear_projection: true,
  },
};

const WITH_ATTENTION = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"];

/** Version XL, with OpenAI's CLIP and OpenCLIP's ViT-bigG: 64 channels a head. */
export const VERSION_XL: ModelConfig = {
  ...VERSION_1,
  text_encoder_2: {
    ...VERSION_1.text_encoder,
    hidden_act: "gelu",
    hidden_size: 1280,
    intermediate_size: 5120,
    num_attention_heads: 20,
    num_hidden_layers: 32,
    projection_dim: 1280,
  },
  unet: {
    ...VERSION_1.unet,
    addition_embed_type: "text_time",
    addition_time_embed_dim: 256,
    attention_head_dim: [5, 10, 20],
    block_out_channels: [320, 640, 1280],
    cross_attention_dim: 2048,
    down_block_types: ["DownBlock2D", ...WITH_ATTENTION],
    projection_class_embeddings_input_dim: 2816,
    sample_size: 128,
    transformer_layers_per_block: [1, 2, 10],
    up_block_types: [...WITH_ATTENTION.map((type) => type.replace("Down", "Up")), "UpBlock2D"],
    use_linear_projection: true,
  },
  vae: { ...VERSION_1.vae, sample_size: 1024, scaling_factor: 0.13025 },
  scheduler: {
    _class_name: "EulerDiscreteScheduler",
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    beta_start: 0.00085,
    num_train_timesteps: 1000,
    steps_offset: 1,
    timestep_spacing: "leading",
  },
};

/**
 * The configuration behind tensors under canonical names. Widths, numbers of blocks and layers, and where the
 * attention is are read off them; heads, groups and the scheduler are those of the version that has such a context.
 */
export function configOfShapes(parts: ByPart<{ readonly tensors: Tensors }>): ModelConfig {
  const { text_encoder: text, text_encoder_2: second, unet, vae } = parts;
  const isXl = contextWidth(unet.tensors) === 2048 || size(unet.tensors, 1, [ADDED]) !== undefined;
  const base = isXl ? VERSION_XL : contextWidth(unet.tensors) === 1024 ? VERSION_2 : VERSION_1;
  return {
    text_encoder: { ...base.text_encoder, ...found(textEncoderSizes(text.tensors)) },
    ...(second && {
      text_encoder_2: { ...VERSION_XL.text_encoder_2, ...found(secondEncoderSizes(second.tensors)) },
    }),
    unet: {
      ...base.unet,
      ...found(unetSizes(unet.tensors)),
      ...(isXl && found(xlSizes(unet.tensors, second?.tensors))),
    },
    vae: { ...base.vae, ...found(vaeSizes(vae.tensors)) },
    scheduler: base.scheduler,
  };
}

/** Without the sizes whose tensors are missing: with those of the version they can be asked for by name. */
function found(sizes: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(sizes).filter(([, size]) => size !== undefined));
}

/** The size that the UNet's attention expects of the text encoder's output. */
export function contextWidth(unet: Tensors): number | undefined {
  for (const [name, { shape }] of unet) if (name.endsWith(".attn2.to_k.weight")) return shape[1];
  return undefined;
}

function textEncoderSizes(tensors: Tensors) {
  const width = size(tensors, 1, ["embeddings.token_embedding.weight", "embeddings.position_embedding.weight"]);
  return {
    hidden_size: width,
    // All of CLIP's have 64 channels a head.
    num_attention_heads: width && Math.max(1, Math.floor(width / 64)),
    intermediate_size: size(tensors, 0, ["encoder.layers.0.mlp.fc1.weight", "encoder.layers.0.mlp.fc1.bias"]),
    max_position_embeddings: size(tensors, 0, ["embeddings.position_embedding.weight"]),
    num_hidden_layers: count(tensors, "encoder.layers."),
    vocab_size: size(tensors, 0, ["embeddings.token_embedding.weight"]),
  };
}

function secondEncoderSizes(tensors: Tensors) {
  return { ...textEncoderSizes(tensors), projection_dim: size(tensors, 0, [PROJECTION]) };
}

/** The layer that makes the pooled text. */
const PROJECTION = "text_projection.weight";

/** The layer that reads the pooled text and six sizes. */
const ADDED = "add_embedding.linear_1.weight";

/** How deep the transformers of each block are. */
function transformerDepths(tensors: Tensors, way: "down" | "up"): readonly (number | readonly number[])[] {
  return Array.from({ length: count(tensors, `${way}_blocks.`) }, (_, block) => {
    const attentions = `${way}_blocks.${block}.attentions.`;
    const own = Array.from({ length: count(tensors, attentions) }, (_, i) => {
      return count(tensors, `${attentions}${i}.transformer_blocks.`);
    });
    return new Set(own).size > 1 ? own : own[0] ?? 1;
  });
}

function xlSizes(tensors: Tensors, second: Tensors = new Map()) {
  const [added, pooled] = [size(tensors, 1, [ADDED]), size(second, 0, [PROJECTION])];
  const [down, up] = [transformerDepths(tensors, "down"), transformerDepths(tensors, "up")];
  const mirrors = JSON.stringify(down) === JSON.stringify(up.toReversed());
  return {
    addition_time_embed_dim: added && pooled && (added - pooled) / 6,
    projection_class_embeddings_input_dim: added,
    transformer_layers_per_block: down,
    reverse_transformer_layers_per_block: mirrors ? undefined : up,
  };
}

function unetSizes(tensors: Tensors) {
  const names = [...tensors.keys()];
  const types = (way: "Down" | "Up") =>
    blocks.map((_, i) => {
      const attention = names.some((name) => name.startsWith(`${way.toLowerCase()}_blocks.${i}.attentions.`));
      return `${attention ? "CrossAttn" : ""}${way}Block2D`;
    });
  const blocks = blockWidths(tensors, "down_blocks");
  return {
    block_out_channels: blocks,
    cross_attention_dim: contextWidth(tensors),
    down_block_types: types("Down"),
    in_channels: size(tensors, 1, ["conv_in.weight"]),
    layers_per_block: count(tensors, "down_blocks.0.resnets."),
    ...middleType(names),
    out_channels: size(tensors, 0, ["conv_out.weight", "conv_out.bias"]),
    up_block_types: types("Up"),
  };
}

function middleType(names: readonly string[]): JsonObject {
  const has = (prefix: string) => names.some((name) => name.startsWith(prefix));
  if (has("mid_block.attentions.")) return {};
  return { mid_block_type: has("mid_block.") ? "UNetMidBlock2D" : null };
}

/** The configuration of a ControlNet of these tensors for a UNet, whose own, `unet`, has what no shape tells. */
export function controlNetConfigOfShapes(tensors: Tensors, unet: JsonObject): JsonObject {
  const hint = "controlnet_cond_embedding.";
  const widths = Array.from({ length: count(tensors, `${hint}blocks.`) / 2 }, (_, i) => {
    return size(tensors, 0, [`${hint}blocks.${2 * i + 1}.weight`]);
  });
  const added = size(tensors, 1, [ADDED]);
  return {
    ...unet,
    mid_block_type: "UNetMidBlock2DCrossAttn",
    ...found(unetSizes(tensors)),
    _class_name: "ControlNetModel",
    addition_embed_type: added === undefined ? null : "text_time",
    ...found({ projection_class_embeddings_input_dim: added }),
    transformer_layers_per_block: transformerDepths(tensors, "down"),
    conditioning_embedding_out_channels: [size(tensors, 0, [`${hint}conv_in.weight`]), ...widths],
  };
}

/** The configuration of a VAE of these tensors that takes the place of `own`, which has what no shape tells. */
export function vaeConfigOfShapes(tensors: Tensors, own: JsonObject): JsonObject {
  if (tensors.keys().some((name) => name.startsWith("decoder.layers."))) return tinyVaeConfig(tensors);
  const { _class_name: kind } = own;
  return { ...(kind === "AutoencoderTiny" ? VERSION_1.vae : own), ...found(vaeSizes(tensors)) };
}

function tinyVaeConfig(tensors: Tensors): JsonObject {
  const decoder = tinyBlocks(tensors, "decoder");
  // It may come without its encoder, which mirrors the decoder.
  const encoder = tinyBlocks(tensors, "encoder");
  const width = size(tensors, 0, ["decoder.layers.0.weight", "decoder.layers.0.bias"]);
  return {
    _class_name: "AutoencoderTiny",
    ...found({
      latent_channels: size(tensors, 1, ["decoder.layers.0.weight"]),
      encoder_block_out_channels: width && decoder.map(() => width),
      decoder_block_out_channels: width && decoder.map(() => width),
    }),
    num_encoder_blocks: encoder.length > 0 ? encoder : decoder.toReversed(),
    num_decoder_blocks: decoder,
  };
}

/** How many blocks follow each convolution of a half of a tiny autoencoder, but for the last. */
function tinyBlocks(tensors: Tensors, half: "encoder" | "decoder"): readonly number[] {
  const layers = [...tensors.keys()].flatMap((name) => {
    const [, number, block] = name.match(/^(?:en|de)coder\.layers\.(\d{1,3})(\.conv\.0)?\.weight$/) ?? [];
    return number !== undefined && name.startsWith(half)
      ? [{ number: Number(number), isBlock: block !== undefined }]
      : [];
  }).toSorted((a, b) => a.number - b.number);
  const blocks: number[] = [];
  for (const { isBlock } of layers) {
    if (!isBlock) blocks.push(0);
    else if (blocks.length > 0) blocks.push(blocks.pop()! + 1);
  }
  return blocks.slice(0, -1);
}

function vaeSizes(tensors: Tensors) {
  return {
    block_out_channels: blockWidths(tensors, "decoder.up_blocks").toReversed(),
    latent_channels: size(tensors, 1, ["decoder.conv_in.weight"]),
    layers_per_block: count(tensors, "decoder.up_blocks.0.resnets.") - 1,
    out_channels: size(tensors, 0, ["decoder.conv_out.weight", "decoder.conv_out.bias"]),
  };
}

/** Channels of each block, from a layer of its first residual block. */
function blockWidths(tensors: Tensors, blocks: string): readonly (number | undefined)[] {
  return Array.from({ length: count(tensors, `${blocks}.`) }, (_, i) => {
    const resnet = `${blocks}.${i}.resnets.0`;
    return size(tensors, 0, ["norm2.weight", "norm2.bias", "conv1.bias"].map((name) => `${resnet}.${name}`));
  });
}

/** A dimension of the first of these tensors that is there. */
function size(tensors: Tensors, axis: number, names: readonly string[]): number | undefined {
  return names.map((name) => tensors.get(name)?.shape[axis]).find((size) => size !== undefined);
}

/**
 * How many things are numbered from 0 after `prefix`; that one of their tensors is missing changes nothing. Numbers that
 * no model has do not count: what has them will be unknown.
 */
function count(tensors: Tensors, prefix: string): number {
  const numbers = [...tensors.keys()].flatMap((name) =>
    name.startsWith(prefix) ? Number.parseInt(name.slice(prefix.length)) : []
  );
  return Math.max(-1, ...numbers.filter((number) => number < LIMITS.layers)) + 1;
}
