/**
 * The variational autoencoder between pictures and latents (arXiv 2112.10752), driven by its configuration.
 * @module
 */
import type { Affine, Layer, Ops } from "../../kernels/ops.ts";
import type { Tensor } from "../../kernels/tensor.ts";
import {
  type GroupNormConfig,
  imageAttention,
  type ImageAttentionWeights,
  readImageAttention,
  readResnet,
  resnetBlock,
  type ResnetWeights,
} from "./blocks.ts";
import type { KlVaeConfig, VaeConfig } from "./config.ts";
import type { Parameters } from "./parameters.ts";
import { decodeTiny, encodeTiny, readTinyDecoder, readTinyEncoder, type TinyVaeWeights } from "./tiny_vae.ts";

/** Group normalisation of the VAE: fixed in diffusers. */
const EPSILON = 1e-6;

interface VaeBlock {
  readonly resnets: readonly ResnetWeights[];
  /** The convolution that halves or doubles the resolution after the residual blocks. */
  readonly resample?: Layer;
}

interface VaeMiddle {
  readonly first: ResnetWeights;
  readonly attention?: ImageAttentionWeights;
  readonly second: ResnetWeights;
}

interface KlVaeWeights {
  readonly config: KlVaeConfig;
  readonly convIn: Layer;
  readonly blocks: readonly VaeBlock[];
  readonly middle: VaeMiddle;
  readonly normOut: Affine;
  readonly convOut: Layer;
  /** 1x1: before the decoder, after the encoder. */
  readonly quant?: Layer;
}

/** Half of an autoencoder, of either kind. */
export type VaeWeights = KlVaeWeights | TinyVaeWeights;

function isTiny(weights: VaeWeights): weights is TinyVaeWeights {
  return weights.config.kind === "tiny";
}

function readMiddle(parameters: Parameters, name: string, config: KlVaeConfig): VaeMiddle {
  const channels = config.channels.at(-1)!;
  return {
    first: readResnet(parameters, `${name}.resnets.0`, channels, channels),
    ...(config.middleAttention && {
      attention: readImageAttention(parameters, `${name}.attentions.0`, channels),
    }),
    second: readResnet(parameters, `${name}.resnets.1`, channels, channels),
  };
}

/** Blocks of `channels`, each of `layers` residual blocks and, but for the last, a resampling convolution. */
function readBlocks(
  parameters: Parameters,
  name: (block: number) => string,
  channels: readonly number[],
  layers: number,
  resampler: string,
): readonly VaeBlock[] {
  let current = channels[0]!;
  return channels.map((width, b) => {
    const resnets = Array.from({ length: layers }, (_, i) => {
      const resnet = readResnet(parameters, `${name(b)}.resnets.${i}`, current, width);
      current = width;
      return resnet;
    });
    if (b === channels.length - 1) return { resnets };
    const resample = parameters.layer(`${name(b)}.${resampler}.0.conv`, { in: width, out: width, window: 3 });
    return { resnets, resample };
  });
}

export function readDecoder(parameters: Parameters, config: VaeConfig): VaeWeights {
  if (config.kind === "tiny") return readTinyDecoder(parameters, config);
  const channels = config.channels.toReversed();
  const latent = config.latentChannels;
  return {
    config,
    ...(config.postQuantConvolution && { quant: parameters.layer("post_quant_conv", { in: latent, out: latent }) }),
    convIn: parameters.layer("decoder.conv_in", { in: latent, out: channels[0]!, window: 3 }),
    middle: readMiddle(parameters, "decoder.mid_block", config),
    blocks: readBlocks(parameters, (b) => `decoder.up_blocks.${b}`, channels, config.layers + 1, "upsamplers"),
    normOut: parameters.affine("decoder.conv_norm_out", channels.at(-1)!),
    convOut: parameters.layer("decoder.conv_out", { in: channels.at(-1)!, out: config.imageChannels, window: 3 }),
  };
}

export function readEncoder(parameters: Parameters, config: VaeConfig): VaeWeights {
  if (config.kind === "tiny") return readTinyEncoder(parameters, config);
  const { channels, encodedChannels: moments } = config;
  return {
    config,
    convIn: parameters.layer("encoder.conv_in", { in: config.imageChannels, out: channels[0]!, window: 3 }),
    blocks: readBlocks(parameters, (b) => `encoder.down_blocks.${b}`, channels, config.layers, "downsamplers"),
    middle: readMiddle(parameters, "encoder.mid_block", config),
    normOut: parameters.affine("encoder.conv_norm_out", channels.at(-1)!),
    convOut: parameters.layer("encoder.conv_out", { in: channels.at(-1)!, out: moments, window: 3 }),
    ...(config.quantConvolution && { quant: parameters.layer("quant_conv", { in: moments, out: moments }) }),
  };
}

function middle(ops: Ops, w: VaeMiddle, x: Tensor, norm: GroupNormConfig): Tensor {
  x = resnetBlock(ops, w.first, x, norm);
  if (w.attention) x = imageAttention(ops, w.attention, x, norm);
  return resnetBlock(ops, w.second, x, norm);
}

/** Picture `[batch, 3, height, width]`, values about -1 to 1, of the latent `z` divided by the scaling factor. */
export function decode(ops: Ops, w: VaeWeights, z: Tensor): Tensor {
  if (isTiny(w)) return decodeTiny(ops, w, z);
  const norm = { groups: w.config.groups, epsilon: EPSILON };
  let h = ops.convolve(w.quant ? ops.convolve(z, w.quant) : z, w.convIn);
  h = middle(ops, w.middle, h, norm);
  for (const block of w.blocks) {
    for (const resnet of block.resnets) h = resnetBlock(ops, resnet, h, norm);
    if (block.resample) h = ops.convolve(h, block.resample, { upsample: 2 });
  }
  return ops.convolve(ops.groupNorm(h, w.normOut, { ...norm, silu: true }), w.convOut, { exact: true });
}

/**
 * Moments `[batch, 2 x latentChannels, height / factor, width / factor]` of a picture: means, then log variances. A tiny
 * autoencoder has no variances: it gives the latent.
 */
export function encode(ops: Ops, w: VaeWeights, image: Tensor): Tensor {
  if (isTiny(w)) return encodeTiny(ops, w, image);
  const norm = { groups: w.config.groups, epsilon: EPSILON };
  let h = ops.convolve(image, w.convIn);
  for (const block of w.blocks) {
    for (const resnet of block.resnets) h = resnetBlock(ops, resnet, h, norm);
    // diffusers pads the right and the bottom only.
    if (block.resample) h = ops.convolve(h, block.resample, { stride: 2, pad: 0, padEnd: 1 });
  }
  h = middle(ops, w.middle, h, norm);
  h = ops.convolve(ops.groupNorm(h, w.normOut, { ...norm, silu: true }), w.convOut);
  return w.quant ? ops.convolve(h, w.quant) : h;
}
