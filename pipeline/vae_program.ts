/**
 * Half of the VAE as a recorded program: of a whole picture, or of one tile and replayed for each.
 * @module
 */
import { GpuMemoryError } from "../kernels/errors.ts";
import type { Ops } from "../kernels/ops.ts";
import type { Program } from "../kernels/program.ts";
import type { Tensor } from "../kernels/tensor.ts";
import type { VaeTiling } from "./request.ts";
import { type Field, type Grid, mapTiles, tileCount, tileGrid } from "./tiles.ts";
import { decode, encode, type VaeWeights } from "./nets/vae.ts";

/**
 * The most bytes that a program passes values through before `auto` cuts the picture; with the float16 weights of
 * Stable Diffusion 1.x it is what a card of 6 GB holds.
 */
const BUDGET = 3 * 2 ** 30;

/** The smallest tile, in pixels of the latent: overlaps of smaller ones are too short to hide a seam. */
const SMALLEST_TILE = 16;

/** One half of the VAE, recorded for one size. */
export interface VaeProgram {
  /** One tile; the whole picture where there is one. */
  readonly program: Program;
  readonly tiles: number;
  /** The result for all of `values`, both `[channels, height, width]`. */
  run(values: () => Promise<Float32Array>): Promise<Float32Array>;
  dispose(): void;
}

type Size = Pick<Tensor, "height" | "width">;

interface Half {
  readonly weights: VaeWeights;
  readonly build: (ops: Ops, weights: VaeWeights, x: Tensor) => Tensor;
  readonly from: Omit<Field, "values">;
  readonly to: Omit<Field, "values">;
}

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
): Promise<VaeProgram> {
  const { latentChannels, imageChannels, factor } = weights.config;
  const from = { channels: latentChannels, scale: 1 };
  const half = { weights, build: decode, from, to: { channels: imageChannels, scale: factor } };
  return await recordFitting(ops, half, { size: latent, tiling, given: latent });
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
): Promise<VaeProgram> {
  const { encodedChannels, imageChannels, factor } = weights.config;
  const from = { channels: imageChannels, scale: factor };
  const half = { weights, build: encode, from, to: { channels: encodedChannels, scale: 1 } };
  return await recordFitting(ops, half, { size, tiling });
}

async function record(ops: Ops, half: Half, grid: Grid, given?: Tensor): Promise<VaeProgram> {
  const { from, to } = half;
  const tile = tileSize(grid);
  const input = given ?? keepField(ops, from, tile);
  const output = keepField(ops, to, tile);
  const build = steps(ops, half, input, output);
  await ops.tune(build);
  const program = ops.record(build);
  const runTile = async (values?: Float32Array) => {
    if (values) ops.write(input, values);
    program.run();
    return await ops.read(output);
  };
  return {
    program,
    tiles: tileCount(grid),
    run: async (values) => given ? runTile() : mapTiles(grid, { ...from, values: await values() }, to, runTile),
    dispose() {
      program.dispose();
      if (!given) ops.gpu.free(input.memory);
      ops.gpu.free(output.memory);
    },
  };
}

/**
 * One tile for the whole picture, unless it is to be or must be cut; then tiles of the size that the VAE was trained on,
 * or the next smaller ones that the GPU can bind.
 */
async function recordFitting(
  ops: Ops,
  half: Half,
  { size, tiling, given }: { readonly size: Size; readonly tiling: VaeTiling; readonly given?: Tensor },
): Promise<VaeProgram> {
  const { factor, sampleSize } = half.weights.config;
  const whole = tileGrid(size, Infinity);
  const trained = tileGrid(size, Math.max(SMALLEST_TILE, Math.floor(sampleSize / factor)));
  const cut = tiling === "on" || tiling === "auto" && tileCount(trained) > 1 && !fitsBudget(ops, half, size);
  let grid = cut ? trained : whole;
  while (true) {
    try {
      return await record(ops, half, grid, tileCount(grid) === 1 ? given : undefined);
    } catch (cause) {
      if (!(cause instanceof GpuMemoryError)) throw cause;
      if (tiling === "off") {
        throw new GpuMemoryError(
          `The picture is too large to decode or encode whole; let the VAE use tiles: ${cause.message}`,
          { cause },
        );
      }
      const longest = Math.max(grid.rows.tile, grid.columns.tile);
      if (longest <= SMALLEST_TILE) throw cause;
      grid = grid === whole && tileCount(trained) > 1 ? trained : tileGrid(size, Math.max(SMALLEST_TILE, longest >> 1));
    }
  }
}

/** Whether the GPU can bind what the whole picture needs, and it is not more than may be spent on it. */
function fitsBudget(ops: Ops, half: Half, size: Size): boolean {
  try {
    return ops.plannedBytes(steps(ops, half, keepField(ops, half.from, size), keepField(ops, half.to, size))) <= BUDGET;
  } catch (cause) {
    if (!(cause instanceof GpuMemoryError)) throw cause;
    return false;
  }
}

function tileSize({ rows, columns }: Grid): Size {
  return { height: rows.tile, width: columns.tile };
}

/** Memory of a field's values; nothing is allocated before it is used. */
function keepField(ops: Ops, { channels, scale }: Half["from"], { height, width }: Size): Tensor {
  return ops.keep({ batch: 1, channels, height: height * scale, width: width * scale }, "picture or latent");
}

function steps(ops: Ops, { weights, build }: Half, input: Tensor, output: Tensor): () => void {
  return () => ops.copy(build(ops, weights, input), output);
}
