/**
 * Names of single-file checkpoints, as the original code of latent diffusion (CompVis/latent-diffusion,
 * `ldm/modules`) writes them, to canonical ones.
 * @module
 */
import type { Rename } from "./names.ts";

/** UNet: which numbers its blocks have follows from how many layers each has. What nobody knows stays as it is. */
export function unetNames(names: readonly string[]): Rename {
  const layers = blockLayers(names);
  return (name) => unetName(name, layers) ?? name;
}

/** ControlNet: the UNet's encoder half, the layers that its picture passes through, and those that write what it adds. */
export function controlNetNames(names: readonly string[]): Rename {
  const layers = blockLayers(names);
  const hint = (name: string) => name.match(/^input_hint_block\.(\d{1,3})\.(weight|bias)$/);
  // Each is followed by its activation, which counts.
  const last = Math.max(...names.map((name) => Number(hint(name)?.[1] ?? 0)));
  return (name) => {
    const [, number, kind] = hint(name) ?? [];
    if (number !== undefined) {
      const index = Number(number) / 2;
      const layer = index === 0 ? "conv_in" : Number(number) === last ? "conv_out" : `blocks.${index - 1}`;
      return `controlnet_cond_embedding.${layer}.${kind}`;
    }
    const output = name.replace(/^zero_convs\.(\d{1,3})\.0\.(?=(?:weight|bias)$)/, "controlnet_down_blocks.$1.")
      .replace(/^middle_block_out\.0\.(?=(?:weight|bias)$)/, "controlnet_mid_block.");
    return output === name ? unetName(name, layers) ?? name : output;
  };
}

/** VAE: the decoder's levels are numbered backwards, so their count decides. */
export function vaeNames(names: readonly string[]): Rename {
  const levels = new Set(names.flatMap((name) => name.match(/^decoder\.up\.(\d+)\./)?.[1] ?? [])).size;
  return (name) => vaeName(name, levels) ?? name;
}

/** Residual blocks of a down block: they are numbered on through all blocks, a downsampler after those of each. */
function blockLayers(names: readonly string[]): number {
  const numbers = (pattern: RegExp) => names.flatMap((name) => name.match(pattern)?.[1] ?? []).map(Number);
  const downsamplers = numbers(/^input_blocks\.(\d+)\.0\.op\./);
  const all = numbers(/^input_blocks\.(\d+)\./);
  return downsamplers.length > 0 ? Math.min(...downsamplers) - 1 : Math.max(1, ...all);
}

const OPEN_CLIP: Readonly<Record<string, string>> = {
  "token_embedding.weight": "embeddings.token_embedding.weight",
  "positional_embedding": "embeddings.position_embedding.weight",
  "ln_final.weight": "final_layer_norm.weight",
  "ln_final.bias": "final_layer_norm.bias",
};

const OPEN_CLIP_LAYER: Readonly<Record<string, string>> = {
  "ln_1": "layer_norm1",
  "ln_2": "layer_norm2",
  "attn.out_proj": "self_attn.out_proj",
  "mlp.c_fc": "mlp.fc1",
  "mlp.c_proj": "mlp.fc2",
};

/** OpenCLIP's text encoder, whose queries, keys and values are one tensor. */
export function openClipNames(): Rename {
  return (name) => {
    const outside = OPEN_CLIP[name];
    if (outside !== undefined) return outside;
    // A parameter that is multiplied from the right, unlike a layer's weights.
    if (name === "text_projection") return { turned: "text_projection.weight" };
    const [, number, rest] = name.match(/^transformer\.resblocks\.(\d+)\.(.+)$/) ?? [];
    if (rest === undefined) return name;
    const layer = `encoder.layers.${number}`;
    const joined = rest.match(/^attn\.in_proj_(weight|bias)$/)?.[1];
    if (joined) return ["q", "k", "v"].map((part) => `${layer}.self_attn.${part}_proj.${joined}`);
    const { module, kind } = split(rest);
    const known = OPEN_CLIP_LAYER[module];
    return known === undefined ? name : `${layer}.${known}.${kind}`;
  };
}

/** Layers outside the blocks, and the middle. */
const UNET_MODULES: Readonly<Record<string, string>> = {
  "time_embed.0": "time_embedding.linear_1",
  "time_embed.2": "time_embedding.linear_2",
  "label_emb.0.0": "add_embedding.linear_1",
  "label_emb.0.2": "add_embedding.linear_2",
  "input_blocks.0.0": "conv_in",
  "out.0": "conv_norm_out",
  "out.2": "conv_out",
};

const UNET_RESNET: Readonly<Record<string, string>> = {
  "in_layers.0": "norm1",
  "in_layers.2": "conv1",
  "emb_layers.1": "time_emb_proj",
  "out_layers.0": "norm2",
  "out_layers.3": "conv2",
  "skip_connection": "conv_shortcut",
};

/** `input_blocks`, `middle_block` and `output_blocks` of `layers` residual blocks each, an output block one more. */
function unetName(name: string, layers: number): string | undefined {
  const { module, kind } = split(name);
  const outside = UNET_MODULES[module];
  if (outside !== undefined) return `${outside}.${kind}`;
  const middle = name.match(/^middle_block\.([012])\.(.+)$/);
  if (middle) {
    const [, index, rest] = middle as unknown as [string, string, string];
    return index === "1"
      ? `mid_block.attentions.0.${rest}`
      : unetResnet(`mid_block.resnets.${Number(index) / 2}`, rest);
  }
  const [, way, number, index, rest] = name.match(/^(input|output)_blocks\.(\d+)\.(\d+)\.(.+)$/) ?? [];
  if (rest === undefined) return undefined;
  const place = way === "input" ? Number(number) - 1 : Number(number);
  const block = `${way === "input" ? "down" : "up"}_blocks.${Math.floor(place / (layers + 1))}`;
  const layer = place % (layers + 1);
  if (rest.startsWith("op.")) return `${block}.downsamplers.0.conv.${rest.slice(3)}`;
  if (rest.startsWith("conv.")) return `${block}.upsamplers.0.${rest}`;
  return index === "0" ? unetResnet(`${block}.resnets.${layer}`, rest) : `${block}.attentions.${layer}.${rest}`;
}

function unetResnet(place: string, name: string): string | undefined {
  const { module, kind } = split(name);
  const layer = UNET_RESNET[module];
  return layer && `${place}.${layer}.${kind}`;
}

const VAE_ATTENTION: Readonly<Record<string, string>> = {
  norm: "group_norm",
  q: "to_q",
  k: "to_k",
  v: "to_v",
  proj_out: "to_out.0",
};

/** Encoder and decoder of `levels` resolutions; the original numbers the decoder's from the picture's to the latent's. */
function vaeName(name: string, levels: number): string | undefined {
  if (!/^(?:encoder|decoder|quant_conv|post_quant_conv)\./.test(name)) return undefined;
  return name
    .replace(/^decoder\.up\.(\d+)/, (_, level) => `decoder.up_blocks.${levels - 1 - Number(level)}`)
    .replace(/^encoder\.down\.(\d+)/, "encoder.down_blocks.$1")
    .replace(/(?<=blocks\.\d+\.)block\.(?=\d)/, "resnets.")
    .replace(/(?<=blocks\.\d+\.)(down|up)sample\./, "$1samplers.0.")
    .replace(/(?<=^(?:en|de)coder\.)mid\.block_([12])/, (_, number) => `mid_block.resnets.${Number(number) - 1}`)
    .replace(
      /(?<=^(?:en|de)coder\.)mid\.attn_1\.(norm|q|k|v|proj_out)(?=\.)/,
      (_, layer) => `mid_block.attentions.0.${VAE_ATTENTION[layer]}`,
    )
    .replace(/(?<=resnets\.\d+\.)nin_shortcut/, "conv_shortcut")
    .replace(/(?<=^(?:en|de)coder\.)norm_out/, "conv_norm_out");
}

function split(name: string): { readonly module: string; readonly kind: string } {
  const dot = name.lastIndexOf(".");
  return { module: name.slice(0, dot), kind: name.slice(dot + 1) };
}

/** The other way, for a UNet of today's `names`: the original spellings of one of its modules, at most one of them right. */
export function originalUnetModules(names: Iterable<string>): (module: string) => readonly string[] {
  const own = new Set([...names].map((name) => name.match(/^down_blocks\.0\.resnets\.(\d+)\./)?.[1]).filter(Boolean));
  const place = (way: string, block: string, layer: number) =>
    way === "down"
      ? `input_blocks.${Number(block) * (own.size + 1) + layer + 1}`
      : `output_blocks.${Number(block) * (own.size + 1) + layer}`;
  return (module) => {
    const outside = OLD_UNET_MODULES[module];
    if (outside !== undefined) return [outside];
    const [, inMiddle, kind, index, rest = ""] = module.match(
      /^(?:mid_block|((?:down|up)_blocks\.\d+))\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$/,
    ) ?? [];
    const [, way, block] = inMiddle?.match(/^(down|up)_blocks\.(\d+)$/) ?? [];
    const inner = kind === "resnets" ? OLD_UNET_RESNET[rest] : rest;
    if (index === undefined || inner === undefined) return [];
    if (way === undefined || block === undefined) {
      return [`middle_block.${kind === "resnets" ? 2 * Number(index) : 1}.${inner}`];
    }
    if (kind === "downsamplers") return [`${place(way, block, own.size)}.0.op`];
    // It comes after an attention where there is one.
    if (kind === "upsamplers") return [1, 2].map((after) => `${place(way, block, own.size)}.${after}.conv`);
    return [`${place(way, block, Number(index))}.${kind === "resnets" ? 0 : 1}.${inner}`];
  };
}

const swapped = (table: Readonly<Record<string, string>>): Readonly<Record<string, string | undefined>> =>
  Object.fromEntries(Object.entries(table).map(([a, b]) => [b, a]));
const OLD_UNET_MODULES = swapped(UNET_MODULES);
const OLD_UNET_RESNET = swapped(UNET_RESNET);
