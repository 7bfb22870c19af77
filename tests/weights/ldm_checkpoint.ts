/**
 * The tiny model as a single file in the original naming: the reverse of what the loader does, written on its own.
 * @module
 */
import type { PartName } from "../../weights/part.ts";
import type { TensorSource } from "../../weights/tensor_source.ts";
import { openTinyPart } from "../tiny_model.ts";
import { type StoredTensor, storeTensors } from "./safetensors_bytes.ts";

/** Layers of an input block of the tiny model, as in Stable Diffusion 1.x; an output block has one more. */
const LAYERS = 2;
const LEVELS = 4;

const RESNET: Readonly<Record<string, string>> = {
  norm1: "in_layers.0",
  conv1: "in_layers.2",
  time_emb_proj: "emb_layers.1",
  norm2: "out_layers.0",
  conv2: "out_layers.3",
  conv_shortcut: "skip_connection",
};

const UNET_ENDS: Readonly<Record<string, string>> = {
  "time_embedding.linear_1": "time_embed.0",
  "time_embedding.linear_2": "time_embed.2",
  conv_in: "input_blocks.0.0",
  conv_norm_out: "out.0",
  conv_out: "out.2",
};

function unetName(name: string): string {
  const cut = name.lastIndexOf(".");
  const end = UNET_ENDS[name.slice(0, cut)];
  if (end) return `${end}${name.slice(cut)}`;
  const words = name.split(".");
  const rest = (from: number) => words.slice(from).join(".");
  const resnet = (from: number) => `${RESNET[words[from]!]}.${rest(from + 1)}`;
  if (words[0] === "mid_block") {
    return words[1] === "attentions"
      ? `middle_block.1.${rest(3)}`
      : `middle_block.${2 * Number(words[2])}.${resnet(3)}`;
  }
  const [block, kind, layer] = [Number(words[1]), words[2], Number(words[3])];
  const down = words[0] === "down_blocks";
  const stage = down ? `input_blocks.${1 + block * (LAYERS + 1)}` : `output_blocks.${block * (LAYERS + 1)}`;
  const [way, first] = stage.split(".") as [string, string];
  switch (kind) {
    case "resnets":
      return `${way}.${Number(first) + layer}.0.${resnet(4)}`;
    case "attentions":
      return `${way}.${Number(first) + layer}.1.${rest(4)}`;
    case "downsamplers":
      return `${way}.${Number(first) + LAYERS}.0.op.${rest(5)}`;
    default:
      // Behind the attention, which the lowest resolution does not have.
      return `${way}.${Number(first) + LAYERS}.${block === 0 ? 1 : 2}.conv.${rest(5)}`;
  }
}

const VAE_ATTENTION: Readonly<Record<string, string>> = {
  group_norm: "norm",
  to_q: "q",
  to_k: "k",
  to_v: "v",
  "to_out.0": "proj_out",
};

function vaeName(name: string): string {
  const words = name.split(".");
  const rest = (from: number) => words.slice(from).join(".").replace("conv_shortcut", "nin_shortcut");
  const [half, block, at, kind] = words;
  if (block === "mid_block") {
    const number = Number(words[3]) + 1;
    if (at === "resnets") return `${half}.mid.block_${number}.${rest(4)}`;
    return `${half}.mid.attn_1.${VAE_ATTENTION[words.slice(4, -1).join(".")]}.${words.at(-1)}`;
  }
  if (block === "down_blocks" || block === "up_blocks") {
    const level = block === "down_blocks" ? `down.${at}` : `up.${LEVELS - 1 - Number(at)}`;
    return `${half}.${level}.${kind === "resnets" ? `block.${rest(4)}` : `${kind!.slice(0, -2)}.${rest(5)}`}`;
  }
  return name.replace("conv_norm_out", "norm_out");
}

/** How a part's canonical names are written in a checkpoint. */
export const LDM_NAMES: Readonly<Record<PartName, (name: string) => string>> = {
  text_encoder: (name) => `cond_stage_model.transformer.text_model.${name}`,
  unet: (name) => `model.diffusion_model.${unetName(name)}`,
  vae: (name) => `first_stage_model.${vaeName(name)}`,
};

/** The parts of a model. */
export const PARTS: readonly PartName[] = ["text_encoder", "unet", "vae"];

/** The shape in which the original stores a tensor: the VAE's attention is made of 1x1 convolutions. */
function storedShape(name: string, shape: readonly number[]): readonly number[] {
  return /mid\.attn_1\.(?:q|k|v|proj_out)\.weight$/.test(name) ? [...shape, 1, 1] : shape;
}

/** Tensors of a checkpoint's training that no picture needs. */
const TRAINING: ReadonlyMap<string, StoredTensor> = new Map(
  [
    ["alphas_cumprod", "F64", 8],
    ["model_ema.decay", "F32", 4],
    ["model_ema.num_updates", "I32", 4],
    ["model_ema.diffusion_modelinput_blocks00weight", "F16", 2],
    ["first_stage_model.loss.logvar", "F64", 8],
    ["cond_stage_model.transformer.text_model.embeddings.position_ids", "I64", 8],
    ["cond_stage_model.logit_scale", "F32", 4],
  ].map(([name, dtype, bytes]) => [
    name as string,
    { dtype: dtype as string, shape: [1], bytes: new Uint8Array(bytes as number) },
  ]),
);

/** A change to a tensor on its way into the file: another name, other bytes; undefined leaves it out. */
export type Change = (name: string, tensor: StoredTensor) => readonly [string, StoredTensor] | undefined;

/** The bytes of the tiny model as a checkpoint, its training's tensors among them. */
export function tinyCheckpoint(
  change: Change = (name, tensor) => [name, tensor],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const tensors = new Map(TRAINING);
  for (const part of PARTS) {
    const source: TensorSource = openTinyPart(part);
    for (const [canonical, { dtype, shape }] of source.tensors) {
      const name = LDM_NAMES[part](canonical);
      const changed = change(name, { dtype, shape: storedShape(name, shape), bytes: source.read(canonical) });
      if (changed) tensors.set(...changed);
    }
  }
  return storeTensors(tensors, metadata);
}
