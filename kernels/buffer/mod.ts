/**
 * The kernels for real GPUs: storage buffers and workgroup memory.
 * @module
 */
import { type AttentionSpec, type Backend, productName, type ProductSpec } from "../backend.ts";
import type { Way } from "../launch.ts";
import type { Tensor } from "../tensor.ts";
import { chooseFlashTile, flashAttention } from "./flash_attention.ts";
import { groupNorm, groupNormSplit, splitPays } from "./group_norm.ts";
import { layerNorm } from "./layer_norm.ts";
import { bufferLayout, decode, encode, layoutOf, pack, quads, sampleColumns, weightLayout } from "./layout.ts";
import type { MatrixUnit } from "./matrix.ts";
import { chooseMatrixCut } from "./matrix_cut.ts";
import { matrixFlash, matrixFlashTiles } from "./matrix_flash.ts";
import { matrixProduct } from "./matrix_product.ts";
import { packRows } from "./pack_rows.ts";
import { product } from "./product.ts";
import { softmax, softmaxRows } from "./softmax.ts";
import { winograds } from "./winograd.ts";

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
  /** What multiplies matrices of float16, if anything does; for `arithmetic` only. */
  readonly matrices?: MatrixUnit | undefined;
}

/** What every WebGPU adapter offers. */
const LEAST: Capabilities = { subgroups: false, threads: 256, workgroupBytes: 16384, float16: "pairs" };

/** Storage buffers and workgroup memory. */
export function bufferBackend(capabilities: Capabilities = LEAST): Backend {
  const { threads, workgroupBytes, float16, matrices } = capabilities;
  const half = float16 === "arithmetic";
  const stored = float16 === "pairs" ? "f16 pair" : "f16";
  return {
    name: "buffer",
    vectors: quads,
    layout: (rows, batch, pixels, exact = false) => bufferLayout(rows, batch, pixels, half && !exact ? "f16" : "f32"),
    sampleColumns,
    encode,
    decode,
    weightLayout: (shape) => weightLayout(shape, stored),
    pack: (weights) => pack(weights, stored),
    packRows,
    product: (spec) => [
      ...matrixWays(spec, capabilities),
      { kernels: productName(spec), launches: () => product(spec, { half, workgroupBytes }) },
    ],
    flashAttention: (spec) => flashWays(spec, capabilities),
    groupNorm: (spec) => [
      splitPays(spec)
        ? { kernels: "two shaders", launches: () => groupNormSplit(spec) }
        : { kernels: "one shader", launches: () => [groupNorm(spec, threads)] },
    ],
    layerNorm,
    softmax,
    softmaxRows,
    // Stored probabilities are an operand of matrices, exponentials on their way are none.
    widestFusedSoftmax: matrices ? 0 : Infinity,
    winograds: winograds({ half, matrices: matrices !== undefined }),
    ...(matrices && { withoutMatrices: bufferBackend({ ...capabilities, matrices: undefined }) }),
  };
}

/** Channels below which most of a tile would multiply zeros. */
const LEAST_MATRIX_CHANNELS = 16;

/** Products on matrices, where both operands are float16 and enough of each matrix is filled. */
function matrixWays(spec: ProductSpec, { matrices: unit, workgroupBytes }: Capabilities): readonly Way[] {
  const { a, b, out, m, k, window, batch, activation, softmax } = spec;
  if (!unit || softmax || k < LEAST_MATRIX_CHANNELS) return [];
  if ([a, b].some((x) => layoutOf(x).element !== "f16")) return [];
  const geglu = activation === "geglu";
  const cut = chooseMatrixCut({
    m: geglu ? 2 * m : m,
    n: batch ? spec.n : layoutOf(out).stride,
    k: k * (window ? window.size ** 2 : 1),
    batches: batch ? batch.outer * batch.inner : 1,
    splittable: !batch && !geglu,
    geglu,
    unit,
    workgroupBytes,
  });
  return cut ? [{ kernels: `${productName(spec)} on matrices`, launches: () => matrixProduct(spec, cut) }] : [];
}

/**
 * Flash attention where the head's width and the workgroup's memory allow it: on matrices where all operands are float16,
 * otherwise in float16 where those that are read are.
 */
function flashWays(spec: AttentionSpec, capabilities: Capabilities): readonly Way[] {
  const { subgroups, threads, workgroupBytes, float16, matrices: unit } = capabilities;
  if (!subgroups) return [];
  const { q, k, v, out, heads } = spec;
  const width = q.channels / heads;
  const areHalf = (...tensors: Tensor[]) => tensors.every((x) => layoutOf(x).element === "f16");
  const half = float16 === "arithmetic" && areHalf(q, k, v);
  const [matrixTile] = unit && half && areHalf(out) ? matrixFlashTiles(width, { unit, threads, workgroupBytes }) : [];
  const tile = width % 8 === 0 ? chooseFlashTile(width, workgroupBytes, half) : undefined;
  return [
    ...matrixTile ? [{ kernels: "flash on matrices", launches: () => [matrixFlash(spec, matrixTile)] }] : [],
    ...tile ? [{ kernels: "flash", launches: () => [flashAttention(spec, tile)] }] : [],
  ];
}
