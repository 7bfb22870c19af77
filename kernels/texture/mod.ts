/**
 * The kernels for adapters whose texture reads are fast and whose buffer reads are not: llvmpipe.
 * @module
 */
import type { Backend } from "../backend.ts";
import type { Layout, TextureLayout } from "../tensor.ts";
import { activate, add, concat, multiply } from "./elementwise.ts";
import { flashAttention } from "./flash_attention.ts";
import { groupNorm } from "./group_norm.ts";
import { groupNormParts } from "./group_norm_parts.ts";
import { layerNorm } from "./layer_norm.ts";
import { decode, encode, pack, textureLayout } from "./layout.ts";
import { product } from "./product.ts";
import { sample } from "./sampler.ts";
import { softmax, softmaxRows } from "./softmax.ts";
import { transpose } from "./transpose.ts";
import { winogradInput, winogradOutput, winogradWeights } from "./winograd.ts";

function asTexture(layout: Layout): TextureLayout {
  if (layout.kind !== "texture") throw new TypeError("Expected the layout of a texture");
  return layout;
}

/** Storage textures and subgroup broadcasts. */
export const textureBackend: Backend = {
  name: "texture",
  layout: (rows, batch, pixels) => textureLayout(rows, batch * pixels),
  sampleColumns: (pixels) => pixels,
  encode: ({ layout, rows, batch, pixels }, values) => encode(asTexture(layout), rows, batch * pixels, values),
  decode: ({ layout, rows, batch, pixels }, data) => decode(asTexture(layout), rows, batch * pixels, data),
  pack,
  product: (spec) => [product(spec)],
  softmax,
  softmaxRows,
  flashAttention,
  groupNorm: (spec) => [groupNorm(spec)],
  groupNormParts,
  layerNorm,
  activate,
  add,
  multiply,
  concat,
  sample,
  transpose,
  winogradWeights,
  winogradInput,
  winogradOutput,
};
