/**
 * Large pictures in overlapping tiles: where they lie, what is cut out for each, and how their results are blended.
 * All lengths are pixels of a latent, or of what else a net has at its lowest resolution.
 * @module
 */

/** Share of a tile that the next one repeats. */
const OVERLAP = 0.25;

export interface Side {
  readonly length: number;
  readonly tile: number;
  /** Where each tile starts: evenly spread, the first at 0, the last up to the end. */
  readonly starts: readonly number[];
  /** Pixels at the edges of a tile that count for nothing where another tile has them, too. */
  readonly margin: number;
}

export interface Grid {
  readonly rows: Side;
  readonly columns: Side;
}

/** Values `[channels, height, width]` at `scale` times the latent's resolution. */
export interface Field {
  /** All values, or those of one tile. */
  readonly values: Float32Array;
  readonly channels: number;
  /** Its pixels along one pixel of the latent. */
  readonly scale: number;
}

/**
 * A latent of `height` x `width` in tiles of at most `tile` x `tile`, all of one size; `margin` is the share of an overlap
 * that is left out on either side of it, less than a half.
 */
export function tileGrid({ height, width }: { height: number; width: number }, tile: number, margin = 0): Grid {
  return { rows: tileSide(height, tile, margin), columns: tileSide(width, tile, margin) };
}

export function tileCount({ rows, columns }: Grid): number {
  return rows.starts.length * columns.starts.length;
}

function tileSide(length: number, most: number, margin: number): Side {
  const tile = Math.min(length, most);
  const overlap = overlapOf(tile);
  const steps = Math.ceil((length - tile) / (tile - overlap));
  const starts = Array.from({ length: steps + 1 }, (_, i) => steps === 0 ? 0 : Math.round(i * (length - tile) / steps));
  return { length, tile, starts, margin: Math.floor(overlap * margin) };
}

function overlapOf(tile: number): number {
  return Math.floor(tile * OVERLAP);
}

/**
 * Sends each tile of `from` through `run` and blends the results, whose `channels` and `scale` are `to`'s: along each
 * side a tile's weight rises from its margin over the overlap, and the weights of all tiles are 1 in every pixel.
 */
export async function mapTiles(
  { rows, columns }: Grid,
  from: Field,
  to: Omit<Field, "values">,
  run: (tile: Float32Array) => Promise<Float32Array>,
): Promise<Float32Array> {
  const blended = new Float32Array(to.channels * rows.length * columns.length * to.scale ** 2);
  const [down, across] = [sideWeights(rows, to.scale), sideWeights(columns, to.scale)];
  for (const [i, top] of rows.starts.entries()) {
    for (const [j, left] of columns.starts.entries()) {
      const cut = new Float32Array(from.channels * rows.tile * columns.tile * from.scale ** 2);
      eachRow({ rows, columns }, { ...from, top, left }, (whole, tile, count) => {
        cut.set(from.values.subarray(whole, whole + count), tile);
      });
      const result = await run(cut);
      eachRow({ rows, columns }, { ...to, top, left }, (whole, tile, count, row) => {
        const weight = down[i]![row]!;
        for (let x = 0; x < count; x++) blended[whole + x]! += weight * across[j]![x]! * result[tile + x]!;
      });
    }
  }
  return blended;
}

/** Calls `visit` with where each row of a tile starts in the whole field and in the tile. */
function eachRow(
  { rows, columns }: Grid,
  { channels, scale, top, left }: Omit<Field, "values"> & { top: number; left: number },
  visit: (whole: number, tile: number, count: number, row: number) => void,
): void {
  const [height, width, count] = [rows.length * scale, columns.length * scale, columns.tile * scale];
  for (let channel = 0; channel < channels; channel++) {
    for (let row = 0; row < rows.tile * scale; row++) {
      const whole = (channel * height + top * scale + row) * width + left * scale;
      visit(whole, (channel * rows.tile * scale + row) * count, count, row);
    }
  }
}

/** Weights `[tiles][tile x scale]` along one side, 1 in all at each pixel of the whole. */
function sideWeights({ length, tile, starts, margin }: Side, scale: number): readonly Float64Array[] {
  const size = tile * scale;
  const ramp = (overlapOf(tile) - 2 * margin) * scale;
  const first = 0.5 - margin * scale;
  const sums = new Float64Array(length * scale);
  const weights = starts.map((start, i) =>
    Float64Array.from({ length: size }, (_, at) => {
      const [before, behind] = [i > 0 ? at + first : ramp, i < starts.length - 1 ? size - 1 - at + first : ramp];
      const weight = starts.length === 1 ? 1 : Math.max(0, Math.min(before, behind, ramp)) / ramp;
      sums[start * scale + at]! += weight;
      return weight;
    })
  );
  return weights.map((values, i) => values.map((weight, at) => weight / sums[starts[i]! * scale + at]!));
}
