/**
 * The configuration of a Stable Diffusion 1.x whose files hold none: its shapes tell how wide and deep it is, the rest
 * is what all of Stable Diffusion 1.x have in common.
 * @module
 */
import type { JsonObject } from "./json.ts";
import type { ModelConfig } from "./model.ts";
import { sd14Config } from "./sd14.ts";
import type { TensorInfo } from "./tensor_source.ts";

/** Tensors of one part by canonical name. */
type Tensors = ReadonlyMap<string, TensorInfo>;

/**
 * The configuration behind tensors under canonical names. Widths, numbers of blocks and layers, and where the
 * attention is are read off them; heads, groups and the scheduler (PNDM that predicts noise) are those of Stable
 * Diffusion 1.x.
 */
export function configOfShapes(
  parts: { readonly textEncoder: Tensors; readonly unet: Tensors; readonly vae: Tensors },
): ModelConfig {
  return {
    textEncoder: { ...sd14Config.textEncoder, ...found(textEncoderSizes(parts.textEncoder)) },
    unet: { ...sd14Config.unet, ...found(unetSizes(parts.unet)) },
    vae: { ...sd14Config.vae, ...found(vaeSizes(parts.vae)) },
    scheduler: sd14Config.scheduler,
  };
}

/** Without the sizes whose tensors are missing: with those of Stable Diffusion 1.4 the tensors can be asked for. */
function found(sizes: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(sizes).filter(([, size]) => size !== undefined));
}

/** The size that the UNet's attention expects of the text encoder's output. */
export function contextWidth(unet: Tensors): number | undefined {
  for (const [name, { shape }] of unet) if (name.endsWith(".attn2.to_k.weight")) return shape[1];
  return undefined;
}

function textEncoderSizes(tensors: Tensors) {
  return {
    hidden_size: size(tensors, 1, ["embeddings.token_embedding.weight", "embeddings.position_embedding.weight"]),
    intermediate_size: size(tensors, 0, ["encoder.layers.0.mlp.fc1.weight", "encoder.layers.0.mlp.fc1.bias"]),
    max_position_embeddings: size(tensors, 0, ["embeddings.position_embedding.weight"]),
    num_hidden_layers: count(tensors, "encoder.layers."),
    vocab_size: size(tensors, 0, ["embeddings.token_embedding.weight"]),
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
    out_channels: size(tensors, 0, ["conv_out.weight", "conv_out.bias"]),
    up_block_types: types("Up"),
  };
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

/** How many things are numbered from 0 behind `prefix`; that one of their tensors is missing changes nothing. */
function count(tensors: Tensors, prefix: string): number {
  const numbers = [...tensors.keys()].flatMap((name) =>
    name.startsWith(prefix) ? Number.parseInt(name.slice(prefix.length)) : []
  );
  return Math.max(-1, ...numbers) + 1;
}
