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

/** What adapters of this family differ in. */
export interface Capabilities {
  /** Whether lanes of a subgroup can exchange values. */
  readonly subgroups: boolean;
  /** Most threads of a workgroup. */
  readonly threads: number;
  /** Most memory of a workgroup in bytes. */
  readonly workgroupBytes: number;
}

/** What every WebGPU adapter offers. */
const LEAST: Capabilities = { subgroups: false, threads: 256, workgroupBytes: 16384 };

/** Storage buffers and workgroup memory. */
export function bufferFamily({ subgroups, threads, workgroupBytes }: Capabilities = LEAST): Family {
  return {
    name: "buffer",
    layout: (rows, batch, pixels) => bufferLayout(rows, batch, pixels),
    sampleColumns,
    encode,
    decode,
    pack,
    product: (spec) => product(spec, workgroupBytes),
    softmax,
    softmaxRows,
    flashAttention: (spec) => subgroups ? flashAttention(spec, workgroupBytes) : undefined,
    groupNorm: (spec) => groupNorm(spec, threads),
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
}
