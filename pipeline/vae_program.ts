/**
 * Half of the VAE as a recorded program: of a whole picture, or of one tile and replayed for each.
 * @module
 */
import type { Ops } from "../kernels/ops.ts";
import type { Tensor } from "../kernels/tensor.ts";
import type { VaeTiling } from "./request.ts";
import { recordTiled, type Size, type TiledNet, type TiledProgram } from "./tiled_program.ts";
import { decode, encode, type VaeWeights } from "./nets/vae.ts";

/** The smallest tile, in pixels of the latent: overlaps of smaller ones are too short to hide a seam. */
const SMALLEST_TILE = 16;

/**
 * Records the decoder: latents divided by the scaling factor to pictures, values about -1 to 1. Without tiles it reads
 * `latent` itself and asks for no values.
 *
 * @throws {GpuMemoryError} when the GPU cannot bind what the whole picture needs and `tiling` is off, or not even what
 * the smallest tile needs.
 */
export async function recordDecoder(
  ops: Ops,
  weights: VaeWeights,
  latent: Tensor,
  tiling: VaeTiling,
): Promise<TiledProgram> {
  const { latentChannels, imageChannels, factor } = weights.config;
  const from = { channels: latentChannels, scale: 1 };
  const net = { build: decode, from, to: { channels: imageChannels, scale: factor } };
  return await recordTiled(ops, withWeights(weights, net), { size: latent, tiling, given: latent });
}

/**
 * Records the encoder for latents of `size`: pictures, -1 to 1, to moments as {@link encode} gives them.
 *
 * @throws {GpuMemoryError} when the GPU cannot bind what the whole picture needs and `tiling` is off, or not even what
 * the smallest tile needs.
 */
export async function recordEncoder(
  ops: Ops,
  weights: VaeWeights,
  size: Size,
  tiling: VaeTiling,
): Promise<TiledProgram> {
  const { encodedChannels, imageChannels, factor } = weights.config;
  const from = { channels: imageChannels, scale: factor };
  const net = { build: encode, from, to: { channels: encodedChannels, scale: 1 } };
  return await recordTiled(ops, withWeights(weights, net), { size, tiling });
}

/** A half of the VAE with its weights, whose tiles are of the size that it was trained on. */
function withWeights(
  weights: VaeWeights,
  { build, ...fields }: Pick<TiledNet, "from" | "to"> & { readonly build: typeof decode },
): TiledNet {
  const { factor, sampleSize } = weights.config;
  return {
    ...fields,
    build: (ops, x) => build(ops, weights, x),
    tile: { side: Math.floor(sampleSize / factor), smallest: SMALLEST_TILE },
  };
}
