/**
 * The kernels for real GPUs: storage buffers and workgroup memory.
 * @module
 */
import { type AttentionSpec, type Backend, productName } from "../backend.ts";
import type { MatrixShape } from "../device.ts";
import type { Way } from "../launch.ts";
import type { Tensor } from "../tensor.ts";
import { chooseFlashTile, flashAttention } from "./flash_attention.ts";
import { groupNorm, groupNormSplit, splitPays } from "./group_norm.ts";
import { layerNorm } from "./layer_norm.ts";
import { bufferLayout, decode, encode, layoutOf, pack, quads, sampleColumns } from "./layout.ts";
import { matrixFlash, matrixFlashTiles } from "./matrix_flash.ts";
import { product } from "./product.ts";
import { softmax, softmaxRows } from "./softmax.ts";
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
  /** What a subgroup multiplies at once: float16 matrices summed in float32, the largest first; often none. */
  readonly matrices: readonly MatrixShape[];
  /** Lanes of a subgroup, the most where they differ; 0 where it is not told. */
  readonly subgroupSize: number;
}

/** What every WebGPU adapter offers. */
const LEAST: Capabilities = {
  subgroups: false,
  threads: 256,
  workgroupBytes: 16384,
  float16: "pairs",
  matrices: [],
  subgroupSize: 0,
};

/** Storage buffers and workgroup memory. */
export function bufferBackend(capabilities: Capabilities = LEAST): Backend {
  const { threads, workgroupBytes, float16 } = capabilities;
  const half = float16 === "arithmetic";
  return {
    name: "buffer",
    vectors: quads,
    layout: (rows, batch, pixels, exact = false) => bufferLayout(rows, batch, pixels, half && !exact ? "f16" : "f32"),
    sampleColumns,
    encode,
    decode,
    pack: (weights) => pack(weights, float16 === "pairs" ? "f16 pair" : "f16"),
    product: (spec) => [{ kernels: productName(spec), launches: () => product(spec, { half, workgroupBytes }) }],
    flashAttention: (spec) => flashWays(spec, capabilities),
    groupNorm: (spec) => [
      splitPays(spec)
        ? { kernels: "two shaders", launches: () => groupNormSplit(spec) }
        : { kernels: "one shader", launches: () => [groupNorm(spec, threads)] },
    ],
    layerNorm,
    softmax,
    softmaxRows,
    widestFusedSoftmax: Infinity,
    winograd: {
      // Rows of pixels are stored four at a time.
      fits: ({ outputWidth }) => outputWidth % 4 === 0,
      // Measured on an H100.
      pays: { channels: 128, tiles: 64 },
      weights: winogradWeights,
      input: winogradInput,
      output: winogradOutput,
    },
  };
}

/**
 * Flash attention where the head's width and the workgroup's memory allow it: on matrices where all operands are float16,
 * otherwise in float16 where those that are read are.
 */
function flashWays(spec: AttentionSpec, capabilities: Capabilities): readonly Way[] {
  const { subgroups, workgroupBytes: bytes, float16, matrices, subgroupSize: lanes, threads } = capabilities;
  if (!subgroups) return [];
  const width = spec.q.channels / spec.heads;
  const isHalf = (x: Tensor) => layoutOf(x).element === "f16";
  const half = float16 === "arithmetic" && [spec.q, spec.k, spec.v].every(isHalf);
  const shapes = half && isHalf(spec.out) ? matrices : [];
  const [matrixTile] = shapes.flatMap((shape) => matrixFlashTiles(width, { shape, lanes, threads, bytes }));
  const tile = width % 8 === 0 ? chooseFlashTile(width, bytes, half) : undefined;
  return [
    ...matrixTile ? [{ kernels: "flash on matrices", launches: () => [matrixFlash(spec, matrixTile)] }] : [],
    ...tile ? [{ kernels: "flash", launches: () => [flashAttention(spec, tile)] }] : [],
  ];
}
