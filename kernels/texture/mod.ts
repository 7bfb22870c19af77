/**
 * The kernels for adapters whose texture reads are fast and whose buffer reads are not: llvmpipe.
 * @module
 */
import { type Backend, productName } from "../backend.ts";
import { F4, tiles } from "../winograd.ts";
import { fitsFlash, flashAttention } from "./flash_attention.ts";
import { groupNorm } from "./group_norm.ts";
import { layerNorm } from "./layer_norm.ts";
import { decode, encode, HIGHEST, pack, texels, textureLayout, weightLayout, WIDEST } from "./layout.ts";
import { product } from "./product.ts";
import { softmax, softmaxRows } from "./softmax.ts";
import { winogradInput, winogradOutput, winogradWeights } from "./winograd.ts";

/** Storage textures and subgroup broadcasts. */
export const textureBackend: Backend = {
  name: "texture",
  vectors: texels,
  layout: (rows, batch, pixels) => textureLayout(rows, batch * pixels),
  sampleColumns: (pixels) => pixels,
  encode,
  decode,
  weightLayout,
  // No packRows: llvmpipe's reads of buffers are slower than the host's.
  pack,
  product: (spec) => [{ kernels: productName(spec), launches: () => [product(spec)] }],
  flashAttention: (spec) => fitsFlash(spec) ? [{ kernels: "flash", launches: () => [flashAttention(spec)] }] : [],
  groupNorm: (spec) => [{ kernels: "one shader", launches: () => [groupNorm(spec)] }],
  layerNorm,
  softmax,
  softmaxRows,
  // The product exponentiates again for every 16 channels of a head. On llvmpipe with two cores, milliseconds fused and
  // stored: 105 and 120 for 1,024 queries and keys of 16 heads of 80; 17.9 and 17.4 for one of 128; 455 and 380 for
  // 4,096 of one of 512; 0.40 and 0.35 for 16 queries and 32 keys of 8 heads of 64.
  widestFusedSoftmax: 96,
  winograds: [{
    name: "Winograd",
    filtering: F4,
    exact: true,
    // What is wider than a texture is folded, and becomes higher.
    fits({ batch, in: inputs, out, outputHeight, outputWidth }) {
      const folds = Math.ceil(batch * tiles(F4, outputHeight) * tiles(F4, outputWidth) / WIDEST);
      return F4.points / 4 * Math.max(inputs, out) * folds <= HIGHEST;
    },
    // Measured on llvmpipe.
    pays: ({ channels, tiles }) => channels >= 64 && tiles >= 16,
    weights: winogradWeights,
    input: winogradInput,
    output: winogradOutput,
  }],
};
