/**
 * The kernels for real GPUs: storage buffers and workgroup memory.
 * @module
 */
import type { Family } from "../family.ts";
import { activate, add, concat } from "./elementwise.ts";
import { flashAttention } from "./flash_attention.ts";
import { groupNorm } from "./group_norm.ts";
import { layerNorm } from "./layer_norm.ts";
import { bufferLayout, decode, encode, pack, sampleColumns } from "./layout.ts";
import { product } from "./product.ts";
import { sample } from "./sampler.ts";
import { softmax, softmaxRows } from "./softmax.ts";
import { transpose } from "./transpose.ts";
import { winogradInput, winogradOutput, winogradWeights } from "./winograd.ts";

/** Storage buffers and workgroup memory. */
export const bufferFamily: Family = {
  name: "buffer",
  layout: (rows, batch, pixels) => bufferLayout(rows, batch, pixels),
  sampleColumns,
  encode,
  decode,
  pack,
  product,
  softmax,
  softmaxRows,
  flashAttention: (spec) => flashAttention(spec),
  groupNorm,
  layerNorm,
  activate,
  add,
  concat,
  sample,
  transpose,
  winogradWeights,
  winogradInput,
  winogradOutput,
};
