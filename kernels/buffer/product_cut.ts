/**
 * How products of the buffer backend are cut into workgroups.
 * @module
 */

/** How a product is cut into workgroups. */
export interface ProductTile {
  /** Warps of a workgroup along the rows of the output, 32 rows each. */
  readonly rows: number;
  /** Warps along its columns, 64 columns each. */
  readonly columns: number;
  /** Summed rows that are in workgroup memory at once. */
  readonly depth: number;
  /** Whether tiles and products are float16; sums over tiles are float32 in any case. */
  readonly half: boolean;
}

/** Threads that keep a large GPU busy: four warps for each scheduler of an H100. */
const ENOUGH_THREADS = 1 << 16;

/** Threads from which splitting float16 sums does not pay for their addition (H100). */
const ENOUGH_UNSPLIT = 36 << 10;

/** A tile, and how far the sum is split. */
export interface Cut {
  readonly tile: ProductTile;
  /** Parts of the summed rows, added up by a second launch. */
  readonly splits: number;
}

/** Workgroup memory of both operands' tiles, twice each. */
function tileBytes({ rows, columns, depth, half }: ProductTile): number {
  return 2 * depth * (32 * rows + 64 * columns) * (half ? 2 : 4);
}

/** What decides how a product is cut. */
export interface CutShape {
  readonly m: number;
  readonly n: number;
  /** Summed rows of all taps. */
  readonly k: number;
  readonly batches: number;
  /** Whether parts of the sum may be added up later. */
  readonly splittable: boolean;
  /** Whether products may be float16. */
  readonly half: boolean;
  /** Most memory of a workgroup in bytes. */
  readonly workgroupBytes: number;
}

/**
 * Tiles, with the TFLOP/s that an H100 reaches with them on large products: the fewer workgroups share a tile's edges,
 * the better, but a tile that hangs over the output multiplies for nothing.
 */
const TILES: readonly { readonly rows: number; readonly columns: number; readonly rate: number }[] = [
  { rows: 4, columns: 2, rate: 42 },
  { rows: 2, columns: 2, rate: 37 },
  { rows: 2, columns: 1, rate: 34 },
];
const HALF_TILES: typeof TILES = [
  { rows: 4, columns: 1, rate: 52 },
  { rows: 2, columns: 1, rate: 50 },
];

/**
 * The tile with which all outputs, those over the edge included, take the shortest, among those that still give enough
 * threads; and a split of the sum when none does.
 */
export function chooseCut({ m, n, k, batches, splittable, half, workgroupBytes }: CutShape): Cut {
  const workgroups = ({ rows, columns }: Pick<ProductTile, "rows" | "columns">) =>
    Math.ceil(m / (32 * rows)) * Math.ceil(n / (64 * columns)) * batches;
  const threads = (tile: ProductTile) => 32 * tile.rows * tile.columns * workgroups(tile);
  const tiles = (half ? HALF_TILES : TILES)
    .map(({ rows, columns, rate }) => ({ tile: { rows, columns, depth: 16, half }, rate }))
    .filter(({ tile }) => tileBytes(tile) <= workgroupBytes);
  const cost = ({ tile, rate }: typeof tiles[number]) => threads(tile) / rate;
  const enough = half ? ENOUGH_UNSPLIT : ENOUGH_THREADS;
  const [best] = tiles.filter(({ tile }) => threads(tile) >= enough).sort((a, b) => cost(a) - cost(b));
  if (best) return { tile: best.tile, splits: 1 };
  const small = { rows: 2, columns: 1, depth: 16, half };
  if (!splittable) return { tile: small, splits: 1 };
  const tile = half ? tiles.sort((a, b) => cost(a) - cost(b))[0]!.tile : small;
  // At least eight turns of the loop a part: shorter ones do not pay for the addition.
  const most = Math.max(1, Math.floor(k / (8 * tile.depth)));
  return { tile, splits: Math.min(most, 16, Math.ceil(ENOUGH_THREADS / threads(tile))) };
}
