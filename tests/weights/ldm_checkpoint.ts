/**
 * The tiny model as a single file in the original naming: the reverse of what the loader does, written on its own.
 * @module
 */
import { type ByPart, type PartName, partsWith } from "../../weights/manifest.ts";
import type { TensorSource } from "../../weights/tensor_source.ts";
import { type StoredTensor, storeTensors } from "./safetensors_bytes.ts";
import { openTinyPart, type TinyName } from "./tiny_files.ts";

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
  "add_embedding.linear_1": "label_emb.0.0",
  "add_embedding.linear_2": "label_emb.0.2",
  conv_in: "input_blocks.0.0",
  conv_norm_out: "out.0",
  conv_out: "out.2",
};

/** The original name of one of a UNet's tensors, whose input blocks have this many residual blocks. */
export function unetName(name: string, numbers: number): string {
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
  const stage = down ? `input_blocks.${1 + block * (numbers + 1)}` : `output_blocks.${block * (numbers + 1)}`;
  const [way, first] = stage.split(".") as [string, string];
  switch (kind) {
    case "resnets":
      return `${way}.${Number(first) + layer}.0.${resnet(4)}`;
    case "attentions":
      return `${way}.${Number(first) + layer}.1.${rest(4)}`;
    case "downsamplers":
      return `${way}.${Number(first) + numbers}.0.op.${rest(5)}`;
    default:
      // Behind the attention, which the lowest resolution does not have.
      return `${way}.${Number(first) + numbers}.${block === 0 ? 1 : 2}.conv.${rest(5)}`;
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

const OPEN_CLIP: Readonly<Record<string, string>> = {
  "embeddings.token_embedding.weight": "token_embedding.weight",
  "embeddings.position_embedding.weight": "positional_embedding",
  "final_layer_norm.weight": "ln_final.weight",
  "final_layer_norm.bias": "ln_final.bias",
  layer_norm1: "ln_1",
  layer_norm2: "ln_2",
  "self_attn.out_proj": "attn.out_proj",
  "mlp.fc1": "mlp.c_fc",
  "mlp.fc2": "mlp.c_proj",
};

/** OpenCLIP's name of a text encoder's tensor; queries, keys and values have none of their own. */
function openClipName(name: string): string {
  const [, layer, module, kind] = name.match(/^encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$/) ?? [];
  const own = layer === undefined ? OPEN_CLIP[name] : `transformer.resblocks.${layer}.${OPEN_CLIP[module!]}.${kind}`;
  return own!;
}

/** How a part's canonical names are written in a checkpoint. */
export const LDM_NAMES: ByPart<(name: string) => string> = {
  text_encoder: (name) => `cond_stage_model.transformer.text_model.${name}`,
  unet: (name) => `model.diffusion_model.${unetName(name, 2)}`,
  vae: (name) => `first_stage_model.${vaeName(name)}`,
};

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

/** What a checkpoint is made of. */
export interface CheckpointOptions {
  readonly change?: Change;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly model?: TinyName;
  /**
   * How many numbers an input block has for its residual blocks, an output block one more; default 2, as in Stable
   * Diffusion 1.x.
   */
  readonly layers?: number;
}

/**
 * The bytes of a tiny model as a checkpoint, its training's tensors among them; tiny-sd2 and the second text encoder of
 * tiny-sdxl in OpenCLIP's naming.
 */
export function tinyCheckpoint(options: CheckpointOptions = {}): Uint8Array<ArrayBuffer> {
  const { change = (name, tensor) => [name, tensor], metadata = {}, model, layers = 2 } = options;
  const tensors = new Map(TRAINING);
  const xl = model === "tiny-sdxl" || model === "tiny-ssd";
  const parts = partsWith(() => xl);
  for (const part of parts) {
    const source: TensorSource = openTinyPart(part, model);
    const stored = part === "text_encoder_2"
      ? openClipTensors(source, "conditioner.embedders.1.model.")
      : part === "text_encoder" && model === "tiny-sd2"
      ? [...openClipTensors(source, SD2_PREFIX), ...SD2_EXTRA]
      : storedTensors(part, source, layers);
    for (const [written, tensor] of stored) {
      const name = xl ? written.replace("cond_stage_model.", "conditioner.embedders.0.") : written;
      const changed = change(name, tensor);
      if (changed) tensors.set(...changed);
    }
  }
  return storeTensors(tensors, metadata);
}

function storedTensors(
  part: PartName,
  source: TensorSource,
  layers: number,
): readonly (readonly [string, StoredTensor])[] {
  return Array.from(source.tensors, ([canonical, { dtype, shape }]) => {
    const name = part === "unet" ? `model.diffusion_model.${unetName(canonical, layers)}` : LDM_NAMES[part]!(canonical);
    return [name, { dtype, shape: storedShape(name, shape), bytes: source.read(canonical) }];
  });
}

const SD2_PREFIX = "cond_stage_model.model.";

/** The last layer, which Stable Diffusion 2 never runs, and a projection. */
const SD2_EXTRA = ["transformer.resblocks.23.ln_1.weight", "text_projection"].map((name) =>
  [`${SD2_PREFIX}${name}`, { dtype: "F16", shape: [32], bytes: new Uint8Array(64) }] as const
);

/** A text encoder as OpenCLIP saves it, its projection turned. */
function openClipTensors(source: TensorSource, prefix: string): readonly (readonly [string, StoredTensor])[] {
  const stored = new Map<string, StoredTensor>();
  for (const [canonical, { dtype, shape }] of source.tensors) {
    const [, layer, part, kind] = canonical.match(/^encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(.+)$/) ?? [];
    const bytes = source.read(canonical);
    if (canonical === "text_projection.weight") {
      const [rows, columns] = shape as [number, number];
      const halves = new Uint16Array(bytes.buffer);
      const turned = Uint16Array.from(halves, (_, i) => halves[i % rows * columns + Math.floor(i / rows)]!);
      stored.set(`${prefix}text_projection`, { dtype, shape: [columns, rows], bytes: new Uint8Array(turned.buffer) });
      continue;
    }
    if (part === undefined) {
      stored.set(`${prefix}${openClipName(canonical)}`, { dtype, shape, bytes });
      continue;
    }
    const name = `${prefix}transformer.resblocks.${layer}.attn.in_proj_${kind}`;
    const joined = stored.get(name) ??
      { dtype, shape: [3 * shape[0]!, ...shape.slice(1)], bytes: new Uint8Array(3 * bytes.length) };
    joined.bytes.set(bytes, "qkv".indexOf(part) * bytes.length);
    stored.set(name, joined);
  }
  return [...stored];
}
