/**
 * How products on matrices are cut into workgroups.
 * @module
 */
import type { MatrixUnit } from "./matrix.ts";
import { type MatrixCut, type MatrixTile, matrixTileBytes, threadsOf } from "./matrix_product.ts";

/** A tile, and what an H200 does with it. */
interface RatedTile {
  readonly tile: MatrixTile;
  /** TFLOP/s of large products. */
  readonly rate: number;
  /** Workgroups that run at once: as many as registers and workgroup memory allow, two waves at most. */
  readonly atOnce: number;
}

function tileOf(
  [rows, columns]: readonly [number, number],
  [subgroupRows, subgroupColumns]: readonly [number, number],
  depth: number,
  double = false,
): MatrixTile {
  return { rows, columns, subgroupRows, subgroupColumns, depth, double };
}

/** Multiprocessors of an H200. */
const PROCESSORS = 132;

/**
 * Large tiles read each operand less often, small ones leave less idle. Two tiles of workgroup memory by turns were
 * slower, where a subgroup has 64x64 sums.
 */
const TILES: readonly RatedTile[] = [
  { tile: tileOf([256, 128], [64, 64], 32), rate: 190, atOnce: PROCESSORS },
  { tile: tileOf([128, 128], [64, 64], 32), rate: 165, atOnce: 2 * PROCESSORS },
  { tile: tileOf([128, 128], [32, 64], 32, true), rate: 138, atOnce: PROCESSORS },
  { tile: tileOf([64, 64], [32, 32], 64), rate: 130, atOnce: 2 * PROCESSORS },
  { tile: tileOf([32, 128], [32, 32], 32, true), rate: 80, atOnce: 2 * PROCESSORS },
  { tile: tileOf([32, 32], [16, 16], 16, true), rate: 40, atOnce: 4 * PROCESSORS },
  { tile: tileOf([32, 32], [16, 16], 32), rate: 40, atOnce: 4 * PROCESSORS },
];

/** What else a workgroup does, in summed rows: its first loads and its last stores. */
const START = 160;

/** Bytes a microsecond that parts of sums are written and read with, and microseconds of the launch that adds them. */
const PARTS = { rate: 2.5e6, launch: 3 };

/** What decides how a product is cut. */
export interface MatrixCutShape {
  /** Rows of the output, of values and gates. */
  readonly m: number;
  readonly n: number;
  /** Summed rows of all taps. */
  readonly k: number;
  readonly batches: number;
  /** Whether parts of the sum may be added up later. */
  readonly splittable: boolean;
  readonly geglu: boolean;
  readonly unit: MatrixUnit;
  /** Most memory of a workgroup in bytes. */
  readonly workgroupBytes: number;
}

/** Whether a tile is whole matrices, and whole loads of each thread. */
function fits(tile: MatrixTile, { unit, geglu, workgroupBytes }: MatrixCutShape): boolean {
  const { rows, columns, subgroupRows, subgroupColumns, depth } = tile;
  const { m, n, k } = unit.shape;
  const threads = threadsOf(tile, unit);
  return subgroupRows % (geglu ? 2 * m : m) === 0 && subgroupColumns % n === 0 && depth % k === 0 &&
    threads % (columns / 8) === 0 && [rows, columns].every((side) => depth * side / 8 % threads === 0) &&
    matrixTileBytes(tile, unit, geglu) <= workgroupBytes;
}

/** Microseconds that a cut product takes on an H200, workgroups that wait for a free multiprocessor included. */
function estimate({ tile: { rows, columns, depth }, rate, atOnce }: RatedTile, splits: number, shape: MatrixCutShape) {
  const { m, n, k, batches } = shape;
  const workgroups = Math.ceil(m / rows) * Math.ceil(n / columns) * batches * splits;
  const turns = Math.ceil(k / depth / splits);
  const perWorkgroup = 2 * rows * columns * (turns * depth + START) / (rate * 1e6 / atOnce);
  const parts = splits > 1 ? 8 * splits * m * n / PARTS.rate + PARTS.launch : 0;
  return Math.ceil(workgroups / atOnce) * perWorkgroup + parts;
}

/** Fewer turns of the loop a part do not pay for the addition. */
const LEAST_TURNS = 4;

/** The tile and the split that take the shortest; none where no tile fits. */
export function chooseMatrixCut(shape: MatrixCutShape): MatrixCut | undefined {
  const { m, n, k, batches, splittable, unit } = shape;
  const cuts = TILES.filter(({ tile }) => fits(tile, shape)).flatMap((rated) => {
    const { tile, atOnce } = rated;
    const workgroups = Math.ceil(m / tile.rows) * Math.ceil(n / tile.columns) * batches;
    // Parts that fill all multiprocessors once, or twice.
    const full = [1, 2].map((waves) => Math.floor(waves * atOnce / workgroups));
    const most = splittable ? Math.floor(k / tile.depth / LEAST_TURNS) : 1;
    const splits = new Set([1, ...full.map((count) => Math.max(1, Math.min(count, most)))]);
    return [...splits].map((splits) => ({ cut: { unit, tile, splits }, cost: estimate(rated, splits, shape) }));
  });
  return cuts.sort((a, b) => a.cost - b.cost)[0]?.cut;
}
