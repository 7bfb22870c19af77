/**
 * Names of single-file checkpoints, as the original code of latent diffusion (CompVis/latent-diffusion,
 * `ldm/modules`) writes them, to canonical ones.
 * @module
 */
import { type Rename, textEncoderName } from "./names.ts";
import type { PartName } from "./part.ts";

/** What the names of each part begin with; everything else in a checkpoint belongs to its training. */
export const LDM_PREFIXES: Readonly<Record<PartName, string>> = {
  text_encoder: "cond_stage_model.transformer.",
  unet: "model.diffusion_model.",
  vae: "first_stage_model.",
};

/** Tensors within a part that its training leaves behind: the loss's own networks, and averaged weights. */
const STRAYS = /^first_stage_model\.(?:loss|model_ema)\./;

/** Whether a checkpoint's tensor may belong to a part of the model. */
export function isLdmPart(name: string): boolean {
  if (name.startsWith(LDM_PREFIXES.text_encoder)) return textEncoderLdmName(name) !== undefined;
  return Object.values(LDM_PREFIXES).some((prefix) => name.startsWith(prefix)) && !STRAYS.test(name);
}

/**
 * The naming of the checkpoint that has these tensors: which numbers its blocks have follows from how many there are.
 * A name within a part that the original code does not know stays as it is.
 */
export function ldmNaming(names: Iterable<string>): Readonly<Record<PartName, Rename>> {
  const known = [...names].filter(isLdmPart);
  const within = (part: PartName, rename: Rename): Rename => (name) => {
    if (!name.startsWith(LDM_PREFIXES[part]) || !isLdmPart(name)) return undefined;
    return rename(name.slice(LDM_PREFIXES[part].length)) ?? name;
  };
  const layers = blockLayers(known);
  const levels = new Set(known.flatMap((name) => name.match(/^first_stage_model\.decoder\.up\.(\d+)\./)?.[1] ?? []));
  return {
    text_encoder: textEncoderLdmName,
    unet: within("unet", (name) => unetLdmName(name, layers)),
    vae: within("vae", (name) => vaeLdmName(name, levels.size)),
  };
}

function textEncoderLdmName(name: string): string | undefined {
  const prefix = LDM_PREFIXES.text_encoder;
  return name.startsWith(prefix) ? textEncoderName(name.slice(prefix.length)) : undefined;
}

/** Residual blocks of a down block: they are numbered on through all blocks, a downsampler behind those of each. */
function blockLayers(names: readonly string[]): number {
  const numbers = (pattern: RegExp) => names.flatMap((name) => name.match(pattern)?.[1] ?? []).map(Number);
  const downsamplers = numbers(/^model\.diffusion_model\.input_blocks\.(\d+)\.0\.op\./);
  const all = numbers(/^model\.diffusion_model\.input_blocks\.(\d+)\./);
  return downsamplers.length > 0 ? Math.min(...downsamplers) - 1 : Math.max(1, ...all);
}

/** Layers outside the blocks, and the middle. */
const UNET_MODULES: Readonly<Record<string, string>> = {
  "time_embed.0": "time_embedding.linear_1",
  "time_embed.2": "time_embedding.linear_2",
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
function unetLdmName(name: string, layers: number): string | undefined {
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
function vaeLdmName(name: string, levels: number): string | undefined {
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

/** A tensor's layer, and which of its tensors it is: `weight` or `bias`. */
function split(name: string): { readonly module: string; readonly kind: string } {
  const dot = name.lastIndexOf(".");
  return { module: name.slice(0, dot), kind: name.slice(dot + 1) };
}
