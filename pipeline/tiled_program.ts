/**
 * A net between pictures as a recorded program: of a whole picture, or of one tile and replayed for each.
 * @module
 */
import { GpuMemoryError } from "../kernels/errors.ts";
import type { Ops } from "../kernels/ops.ts";
import type { Program } from "../kernels/program.ts";
import type { Tensor } from "../kernels/tensor.ts";
import type { VaeTiling } from "./request.ts";
import { type Field, type Grid, mapTiles, tileCount, tileGrid } from "./tiles.ts";

/**
 * The most bytes that a program passes values through before `auto` cuts the picture; with the float16 weights of
 * Stable Diffusion 1.x it is what a card of 6 GB holds.
 */
const BUDGET = 3 * 2 ** 30;

/** A net, recorded for one size. */
export interface TiledProgram {
  /** One tile; the whole picture where there is one. */
  readonly program: Program;
  readonly tiles: number;
  /** The result for all of `values`, both `[channels, height, width]`; `onTile` is called after each tile. */
  run(values: () => Promise<Float32Array>, onTile?: () => void): Promise<Float32Array>;
  dispose(): void;
}

export type Size = Pick<Tensor, "height" | "width">;

/** A net that makes of a picture, or a part of one, another. */
export interface TiledNet {
  readonly build: (ops: Ops, x: Tensor) => Tensor;
  readonly from: Omit<Field, "values">;
  readonly to: Omit<Field, "values">;
  /** The sides of the tiles that a picture is cut into where it must be, and the smallest that hide a seam. */
  readonly tile: { readonly side: number; readonly smallest: number };
  /** See {@link tileGrid}. */
  readonly margin?: number;
}

export interface Recording {
  /** The whole picture, in pixels of its lowest resolution. */
  readonly size: Size;
  readonly tiling: VaeTiling;
  /** What is read where there is one tile; {@link TiledProgram.run} then asks for no values. */
  readonly given?: Tensor;
}

async function record(ops: Ops, net: TiledNet, grid: Grid, given?: Tensor): Promise<TiledProgram> {
  const { from, to } = net;
  const tile = tileSize(grid);
  const input = given ?? keepField(ops, from, tile);
  const output = keepField(ops, to, tile);
  const build = steps(ops, net, input, output);
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
    async run(values, onTile) {
      const runEach = (values?: Float32Array) => runTile(values).finally(onTile);
      return given ? await runEach() : await mapTiles(grid, { ...from, values: await values() }, to, runEach);
    },
    dispose() {
      program.dispose();
      if (!given) ops.gpu.free(input.memory);
      ops.gpu.free(output.memory);
    },
  };
}

/**
 * Records one tile for the whole picture, unless it is to be or must be cut; then tiles of the net's side, or the next
 * smaller ones that the GPU can bind.
 *
 * @throws {GpuMemoryError} when the GPU cannot bind what the whole picture needs and `tiling` is off, or not even what
 * the smallest tile needs.
 */
export async function recordTiled(ops: Ops, net: TiledNet, { size, tiling, given }: Recording): Promise<TiledProgram> {
  const { tile: { side, smallest }, margin } = net;
  const whole = tileGrid(size, Infinity);
  const wanted = tileGrid(size, Math.max(smallest, side), margin);
  const cut = tiling === "on" || tiling === "auto" && tileCount(wanted) > 1 && !fitsBudget(ops, net, size);
  let grid = cut ? wanted : whole;
  while (true) {
    try {
      return await record(ops, net, grid, tileCount(grid) === 1 ? given : undefined);
    } catch (cause) {
      if (!(cause instanceof GpuMemoryError)) throw cause;
      if (tiling === "off") {
        throw new GpuMemoryError(
          `The picture is too large to decode or encode whole; let the VAE use tiles: ${cause.message}`,
          { cause },
        );
      }
      const longest = Math.max(grid.rows.tile, grid.columns.tile);
      if (longest <= smallest) throw cause;
      const next = Math.max(smallest, longest >> 1);
      grid = grid === whole && tileCount(wanted) > 1 ? wanted : tileGrid(size, next, margin);
    }
  }
}

/** Whether the GPU can bind what the whole picture needs, and it is not more than may be spent on it. */
function fitsBudget(ops: Ops, net: TiledNet, size: Size): boolean {
  try {
    return ops.plannedBytes(steps(ops, net, keepField(ops, net.from, size), keepField(ops, net.to, size))) <= BUDGET;
  } catch (cause) {
    if (!(cause instanceof GpuMemoryError)) throw cause;
    return false;
  }
}

function tileSize({ rows, columns }: Grid): Size {
  return { height: rows.tile, width: columns.tile };
}

/** Memory of a field's values; nothing is allocated before it is used. */
function keepField(ops: Ops, { channels, scale }: TiledNet["from"], { height, width }: Size): Tensor {
  return ops.keep({ batch: 1, channels, height: height * scale, width: width * scale }, "picture or latent");
}

function steps(ops: Ops, { build }: TiledNet, input: Tensor, output: Tensor): () => void {
  return () => ops.copy(build(ops, input), output);
}
