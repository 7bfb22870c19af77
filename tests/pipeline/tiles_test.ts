import { assert, assertEquals } from "@std/assert";
import { mapTiles, tileCount, tileGrid } from "../../pipeline/tiles.ts";

const SIZES = [[64, 64], [65, 64], [112, 160], [113, 81], [128, 128], [200, 333], [16, 512]] as const;

Deno.test("tiles cover the picture, are of one size and overlap by a quarter at least", () => {
  for (const [height, width] of SIZES) {
    for (const side of Object.values(tileGrid({ height, width }, 64))) {
      const { length, tile, starts } = side;
      assertEquals(tile, Math.min(length, 64));
      assertEquals([starts[0], starts.at(-1)! + tile], [0, length]);
      for (const [i, start] of starts.slice(1).entries()) assert(start - starts[i]! <= tile * 0.75, `${starts}`);
    }
  }
  // No more of them than needed.
  assertEquals(tileCount(tileGrid({ height: 112, width: 160 }, 64)), 2 * 3);
  assertEquals(tileGrid({ height: 160, width: 64 }, 64).rows.starts, [0, 48, 96]);
});

Deno.test("tiles that are only copied make the same picture", async () => {
  for (const [height, width] of SIZES) {
    const values = Float32Array.from({ length: 2 * height * width }, (_, i) => Math.sin(i * i));
    const field = { values, channels: 2, scale: 1 };
    const got = await mapTiles(tileGrid({ height, width }, 64), field, field, (tile) => Promise.resolve(tile));
    assert(got.every((value, i) => Math.abs(value - values[i]!) <= 2 ** -22), `${height}x${width}`);
  }
});

Deno.test("a tile's result may have another resolution and other channels", async () => {
  const [height, width] = [20, 24];
  const values = Float32Array.from({ length: 12 * height * width * 9 }, (_, i) => i % 1000);
  // The mean of three channels' blocks of 3x3 to one value, on tiles and on the whole.
  const shrink = (rows: number, columns: number) => (values: Float32Array) =>
    Float32Array.from({ length: rows * columns }, (_, i) => {
      const [y, x] = [Math.floor(i / columns) * 3, i % columns * 3];
      return values[y * columns * 3 + x]! + values[2 * rows * columns * 9 + (y + 2) * columns * 3 + x + 2]!;
    });
  const grid = tileGrid({ height, width }, 16);
  const got = await mapTiles(
    grid,
    { values: values.subarray(0, 3 * height * width * 9), channels: 3, scale: 3 },
    { channels: 1, scale: 1 },
    (tile) => Promise.resolve(shrink(16, 16)(tile)),
  );
  const want = shrink(height, width)(values);
  assert(got.every((value, i) => Math.abs(value - want[i]!) <= 1e-3));
});

Deno.test("from one tile to the next the weights change linearly", async () => {
  let tiles = 0;
  const run = (tile: Float32Array) => Promise.resolve(tile.map(() => tiles)).finally(() => tiles++);
  const field = { values: new Float32Array(28), channels: 1, scale: 1 };
  const row = await mapTiles(tileGrid({ height: 1, width: 28 }, 16), field, field, run);
  assertEquals(tiles, 2);
  const want = Float32Array.from({ length: 28 }, (_, x) => Math.min(1, Math.max(0, (x - 11.5) / 4)));
  assertEquals(row, want);
});

Deno.test("what a tile has in its margins counts for nothing where another tile has it", async () => {
  const ends = (tile: Float32Array) => tile.map((value, x) => Math.min(x, tile.length - 1 - x) < 1 ? 1e6 : value);
  const values = Float32Array.from({ length: 40 }, (_, x) => x);
  const field = { values, channels: 1, scale: 1 };
  const row = await mapTiles(
    tileGrid({ height: 1, width: 40 }, 16, 0.25),
    field,
    field,
    (tile) => Promise.resolve(ends(tile)),
  );
  const inner = (_: number, x: number) => x > 0 && x < 39;
  assert(row.filter(inner).every((value, i) => Math.abs(value - (i + 1)) <= 1e-5), `${row}`);
});
