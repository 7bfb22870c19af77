/**
 * The tiny autoencoder (TAESD, diffusers' AutoencoderTiny): convolutions and ReLU between pictures and the very latents
 * that a UNet of Stable Diffusion sees.
 * @module
 */
import type { Layer, Ops } from "../../kernels/ops.ts";
import type { Tensor } from "../../kernels/tensor.ts";
import type { TinyVaeConfig } from "./config.ts";
import type { Parameters } from "./parameters.ts";

/** Three convolutions, whose sum with their input is activated. */
type TinyBlock = readonly [Layer, Layer, Layer];

interface TinyStage {
  /** The convolution before the blocks: of an encoder's later stages it halves the resolution. */
  readonly first: Layer;
  readonly blocks: readonly TinyBlock[];
}

export interface TinyVaeWeights {
  readonly config: TinyVaeConfig;
  readonly stages: readonly TinyStage[];
  readonly convOut: Layer;
}

/** Stages of `blocks` each; a decoder counts an activation behind its first layer and an upsampling before each later one. */
function readHalf(
  parameters: Parameters,
  config: TinyVaeConfig,
  { half, blocks, ends: [from, to] }: {
    readonly half: "encoder" | "decoder";
    readonly blocks: readonly number[];
    readonly ends: readonly [from: number, to: number];
  },
): TinyVaeWeights {
  const { width } = config;
  const between = half === "decoder" ? 1 : 0;
  let number = 0;
  const name = () => `${half}.layers.${number++}`;
  const stages = blocks.map((count, stage): TinyStage => {
    if (stage > 0) number += between;
    const first = parameters.layer(name(), {
      in: stage === 0 ? from : width,
      out: width,
      window: 3,
      bias: stage === 0,
    });
    if (stage === 0) number += between;
    return {
      first,
      blocks: Array.from({ length: count }, () => {
        const block = name();
        return [0, 2, 4].map((i) =>
          parameters.layer(`${block}.conv.${i}`, { in: width, out: width, window: 3 })
        ) as readonly Layer[] as TinyBlock;
      }),
    };
  });
  return { config, stages, convOut: parameters.layer(name(), { in: width, out: to, window: 3 }) };
}

export function readTinyDecoder(parameters: Parameters, config: TinyVaeConfig): TinyVaeWeights {
  const { decoder: blocks, latentChannels, imageChannels } = config;
  return readHalf(parameters, config, { half: "decoder", blocks, ends: [latentChannels, imageChannels] });
}

export function readTinyEncoder(parameters: Parameters, config: TinyVaeConfig): TinyVaeWeights {
  const { encoder: blocks, latentChannels, imageChannels } = config;
  return readHalf(parameters, config, { half: "encoder", blocks, ends: [imageChannels, latentChannels] });
}

function runBlocks(ops: Ops, blocks: readonly TinyBlock[], x: Tensor): Tensor {
  return blocks.reduce((x, [first, second, third]) => {
    const h = ops.convolve(ops.convolve(x, first, { activation: "relu" }), second, { activation: "relu" });
    return ops.convolve(h, third, { plus: x, plusFirst: true, activation: "relu" });
  }, x);
}

/** Picture `[batch, 3, height, width]`, values about -1 to 1, of the latent `z`. */
export function decodeTiny(ops: Ops, { stages, convOut }: TinyVaeWeights, z: Tensor): Tensor {
  const h = stages.reduce((h, { first, blocks }, stage) => {
    const begun = stage === 0
      ? ops.convolve(h, first, { activation: "relu" })
      : ops.convolve(h, first, { upsample: 2 });
    return runBlocks(ops, blocks, begun);
  }, ops.activate(z, "soft_clamp"));
  return ops.convolve(h, convOut, { activation: "from_unit", exact: true });
}

/** Latent `[batch, latentChannels, height / factor, width / factor]` of a picture, values -1 to 1. */
export function encodeTiny(ops: Ops, { stages, convOut }: TinyVaeWeights, image: Tensor): Tensor {
  const h = stages.reduce(
    (h, { first, blocks }, stage) => runBlocks(ops, blocks, ops.convolve(h, first, { stride: stage === 0 ? 1 : 2 })),
    ops.activate(image, "to_unit"),
  );
  return ops.convolve(h, convOut);
}
