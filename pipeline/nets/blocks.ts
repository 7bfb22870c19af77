/**
 * The blocks that the UNet and the VAE are made of.
 * @module
 */
import type { Affine, Layer, Ops, StepBias } from "../../kernels/ops.ts";
import { channelsOf, type Tensor } from "../../kernels/tensor.ts";
import type { Parameters } from "./parameters.ts";

/** Group normalisation as a model configures it. */
export interface GroupNormConfig {
  readonly groups: number;
  readonly epsilon: number;
}

export interface ResnetWeights {
  readonly norm1: Affine;
  readonly conv1: Layer;
  readonly norm2: Affine;
  readonly conv2: Layer;
  /** 1x1, where input and output differ in channels. */
  readonly shortcut?: Layer;
}

/** Reads a residual block of `inputs` to `outputs` channels. */
export function readResnet(parameters: Parameters, name: string, inputs: number, outputs: number): ResnetWeights {
  return {
    norm1: parameters.affine(`${name}.norm1`, inputs),
    conv1: parameters.layer(`${name}.conv1`, { in: inputs, out: outputs, window: 3 }),
    norm2: parameters.affine(`${name}.norm2`, outputs),
    conv2: parameters.layer(`${name}.conv2`, { in: outputs, out: outputs, window: 3 }),
    ...(inputs !== outputs && {
      shortcut: parameters.layer(`${name}.conv_shortcut`, { in: inputs, out: outputs }),
    }),
  };
}

/**
 * Two normalise-activate-convolve layers around a shortcut. In the UNet the timestep enters between them: `time` is
 * the first convolution's bias with the projected timestep already added.
 */
export function resnetBlock(ops: Ops, w: ResnetWeights, x: Tensor, norm: GroupNormConfig, time?: StepBias): Tensor {
  // First: then the larger input is not needed any more after the first normalisation.
  const plus = w.shortcut ? ops.convolve(x, w.shortcut) : x;
  let h = ops.groupNorm(x, w.norm1, { ...norm, silu: true });
  h = ops.convolve(h, w.conv1, time && { stepBias: time });
  h = ops.groupNorm(h, w.norm2, { ...norm, silu: true });
  return ops.convolve(h, w.conv2, { plus });
}

/** Self attention over the pixels of an image, as in the middle of the VAE. */
export interface ImageAttentionWeights {
  readonly norm: Affine;
  readonly qkv: Layer;
  readonly out: Layer;
}

export function readImageAttention(parameters: Parameters, name: string, channels: number): ImageAttentionWeights {
  const names = ["to_q", "to_k", "to_v"].map((part) => `${name}.${part}`);
  return {
    norm: parameters.affine(`${name}.group_norm`, channels),
    qkv: parameters.stacked(names, { in: channels, out: channels }),
    out: parameters.layer(`${name}.to_out.0`, { in: channels, out: channels }),
  };
}

/** One head over all channels, added to its input. */
export function imageAttention(ops: Ops, w: ImageAttentionWeights, x: Tensor, norm: GroupNormConfig): Tensor {
  const qkv = ops.linear(ops.groupNorm(x, w.norm, norm), w.qkv);
  const [q, k, v] = [0, 1, 2].map((i) => channelsOf(qkv, i * x.channels, x.channels)) as [Tensor, Tensor, Tensor];
  return ops.linear(ops.attention(q, k, v, { heads: 1 }), w.out, { plus: x });
}

/** Self attention, attention to the context, and a gated feed-forward network. */
interface TransformerLayer {
  readonly norm1: Affine;
  readonly qkv: Layer;
  readonly out1: Layer;
  readonly norm2: Affine;
  readonly q: Layer;
  /** Keys and values of the context: they do not change from step to step. */
  readonly contextKv: Layer;
  readonly out2: Layer;
  readonly norm3: Affine;
  /** Values and gates of GEGLU. */
  readonly gate: Layer;
  readonly out3: Layer;
}

/** A transformer over the pixels of an image. */
export interface TransformerWeights {
  readonly norm: Affine;
  readonly projectIn: Layer;
  readonly layers: readonly TransformerLayer[];
  readonly projectOut: Layer;
  readonly heads: number;
  /** Whether queries, keys and values are float32 even where activations are float16. */
  readonly exact: boolean;
}

/** Reads a transformer of `channels` that attends to a context of `contextWidth`. */
export function readTransformer(
  parameters: Parameters,
  name: string,
  shape: { channels: number; contextWidth: number; heads: number; depth: number; exact: boolean },
): TransformerWeights {
  const { channels, contextWidth, heads, depth, exact } = shape;
  const square = { in: channels, out: channels };
  const layer = (i: number): TransformerLayer => {
    const block = `${name}.transformer_blocks.${i}`;
    const named = (attention: string, parts: string) => [...parts].map((part) => `${block}.${attention}.to_${part}`);
    return {
      norm1: parameters.affine(`${block}.norm1`, channels),
      qkv: parameters.stacked(named("attn1", "qkv"), { ...square, bias: false }),
      out1: parameters.layer(`${block}.attn1.to_out.0`, square),
      norm2: parameters.affine(`${block}.norm2`, channels),
      q: parameters.layer(`${block}.attn2.to_q`, { ...square, bias: false }),
      contextKv: parameters.stacked(named("attn2", "kv"), { in: contextWidth, out: channels, bias: false }),
      out2: parameters.layer(`${block}.attn2.to_out.0`, square),
      norm3: parameters.affine(`${block}.norm3`, channels),
      gate: parameters.layer(`${block}.ff.net.0.proj`, { in: channels, out: 8 * channels }),
      out3: parameters.layer(`${block}.ff.net.2`, { in: 4 * channels, out: channels }),
    };
  };
  return {
    norm: parameters.affine(`${name}.norm`, channels),
    projectIn: parameters.layer(`${name}.proj_in`, square),
    layers: Array.from({ length: depth }, (_, i) => layer(i)),
    projectOut: parameters.layer(`${name}.proj_out`, square),
    heads,
    exact,
  };
}

/** Layer normalisation inside transformers: PyTorch's default, which no configuration names. */
const LAYER_NORM = { epsilon: 1e-5 };

/** Group normalisation before transformers: fixed in diffusers, unlike `norm_eps`. */
const TRANSFORMER_EPSILON = 1e-6;

/** Calls `visit` with what each part of a transformer returns, for comparisons stage by stage. */
export type Visit = (stage: string, value: Tensor) => void;

/**
 * Attends to the pixels of `x [batch, channels, height, width]` and to the context, whose keys and values, one above
 * the other, are `contextKv [batch, 2 x channels, tokens]`, one tensor a layer.
 */
export function transformer(
  ops: Ops,
  w: TransformerWeights,
  x: Tensor,
  contextKv: readonly Tensor[],
  groups: number,
  visit?: Visit,
): Tensor {
  const { channels } = x;
  const { heads, exact } = w;
  let h = ops.linear(ops.groupNorm(x, w.norm, { groups, epsilon: TRANSFORMER_EPSILON }), w.projectIn);
  w.layers.forEach((layer, i) => {
    const qkv = ops.linear(ops.layerNorm(h, layer.norm1, LAYER_NORM), layer.qkv, { exact });
    const [q, k, v] = [0, 1, 2].map((i) => channelsOf(qkv, i * channels, channels)) as [Tensor, Tensor, Tensor];
    h = ops.linear(ops.attention(q, k, v, { heads }), layer.out1, { plus: h });
    const query = ops.linear(ops.layerNorm(h, layer.norm2, LAYER_NORM), layer.q, { exact });
    const kv = contextKv[i]!;
    const [key, value] = [channelsOf(kv, 0, channels), channelsOf(kv, channels, channels)];
    h = ops.linear(ops.attention(query, key, value, { heads }), layer.out2, { plus: h });
    const hidden = ops.linear(ops.layerNorm(h, layer.norm3, LAYER_NORM), layer.gate, { activation: "geglu" });
    h = ops.linear(hidden, layer.out3, { plus: h });
    visit?.(`transformer_blocks.${i}`, h);
  });
  return ops.linear(h, w.projectOut, { plus: x });
}
