/**
 * The kernels for real GPUs: storage buffers and workgroup memory.
 * @module
 */
import type { AttentionSpec, Backend, Launch } from "../backend.ts";
import { activate, add, concat, multiply } from "./elementwise.ts";
import { chooseFlashTile, flashAttention } from "./flash_attention.ts";
import { groupNorm } from "./group_norm.ts";
import { groupNormParts } from "./group_norm_parts.ts";
import { groupNormSplit, splitPays } from "./group_norm_split.ts";
import { layerNorm } from "./layer_norm.ts";
import { bufferLayout, decode, encode, pack, sampleColumns } from "./layout.ts";
import { product } from "./product.ts";
import { sample } from "./sampler.ts";
import { softmax, softmaxRows } from "./softmax.ts";
import { transpose } from "./transpose.ts";
import { winogradInput, winogradOutput, winogradWeights } from "./winograd.ts";

/** What adapters of this backend differ in. */
export interface Capabilities {
  /** Whether lanes of a subgroup can exchange values. */
  readonly subgroups: boolean;
  /** Most threads of a workgroup. */
  readonly threads: number;
  /** Most memory of a workgroup in bytes. */
  readonly workgroupBytes: number;
  /**
   * What float16 is used for. `pairs`: nothing but weights, for adapters without the type. `storage`: weights, as their
   * own type. `arithmetic`: activations, and products where their error is small against that of float16 weights.
   */
  readonly float16: "pairs" | "storage" | "arithmetic";
}

/** What every WebGPU adapter offers. */
const LEAST: Capabilities = { subgroups: false, threads: 256, workgroupBytes: 16384, float16: "pairs" };

/** Storage buffers and workgroup memory. */
export function bufferBackend({ subgroups, threads, workgroupBytes, float16 }: Capabilities = LEAST): Backend {
  const half = float16 === "arithmetic";
  return {
    name: "buffer",
    layout: (rows, batch, pixels, exact = false) => bufferLayout(rows, batch, pixels, half && !exact ? "f16" : "f32"),
    sampleColumns,
    encode,
    decode,
    pack: (weights) => pack(weights, float16 === "pairs" ? "f16 pair" : "f16"),
    product: (spec) => product(spec, { half, workgroupBytes }),
    softmax,
    softmaxRows,
    flashAttention: (spec) => subgroups ? flash(spec, workgroupBytes, half) : undefined,
    groupNorm: (spec) => splitPays(spec) ? groupNormSplit(spec) : [groupNorm(spec, threads)],
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
}

/** Flash attention where the head's width and the workgroup's memory allow it. */
function flash(spec: AttentionSpec, workgroupBytes: number, half: boolean): Launch | undefined {
  const width = spec.q.channels / spec.heads;
  const tile = width % 8 === 0 ? chooseFlashTile(width, workgroupBytes, half) : undefined;
  return tile && flashAttention(spec, tile);
}
