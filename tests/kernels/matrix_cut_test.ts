import { assert, assertEquals } from "@std/assert";
import { chooseMatrixCut, type MatrixCutShape } from "../../kernels/buffer/matrix_cut.ts";
import type { MatrixUnit } from "../../kernels/buffer/matrix.ts";
import { matrixTileBytes } from "../../kernels/buffer/matrix_product.ts";

const UNITS: readonly MatrixUnit[] = [
  { shape: { m: 16, n: 16, k: 16 }, lanes: 32 },
  { shape: { m: 8, n: 16, k: 16 }, lanes: 16 },
  { shape: { m: 8, n: 8, k: 8 }, lanes: 32 },
  { shape: { m: 8, n: 8, k: 8 }, lanes: 8 },
];

function shapeOf(m: number, n: number, k: number, more: Partial<MatrixCutShape> = {}): MatrixCutShape {
  return { m, n, k, batches: 1, splittable: true, geglu: false, unit: UNITS[0]!, workgroupBytes: 49152, ...more };
}

/** Rows and columns of the tile, and the parts of the sum. */
function cutOf(...shape: Parameters<typeof shapeOf>): readonly number[] {
  const { tile, splits } = chooseMatrixCut(shapeOf(...shape))!;
  return [tile.rows, tile.columns, splits];
}

Deno.test("large products get large tiles, small ones several parts, so that a GPU is busy", () => {
  assertEquals(cutOf(512, 16384, 4608), [256, 128, 1]);
  assertEquals(cutOf(128, 262144, 1152), [128, 128, 1]);
  const [rows, columns, splits] = cutOf(1280, 128, 11520) as [number, number, number];
  assert(splits > 1 && Math.ceil(1280 / rows) * Math.ceil(128 / columns) * splits > 66, `${rows} ${columns} ${splits}`);
  assertEquals(cutOf(1280, 128, 11520, { splittable: false }).at(-1), 1);
});

Deno.test("a cut is whole matrices and whole loads, within a workgroup's memory, for every unit", () => {
  for (const unit of UNITS) {
    for (const workgroupBytes of [16384, 32768, 49152]) {
      for (const geglu of [false, true]) {
        for (const [m, n, k] of [[1, 1, 16], [77, 300, 40], [2560, 8192, 320], [1280, 128, 11520]] as const) {
          const cut = chooseMatrixCut(shapeOf(m, n, k, { unit, workgroupBytes, geglu, splittable: !geglu }));
          if (!cut) continue;
          const { rows, columns, subgroupRows, subgroupColumns, depth } = cut.tile;
          const threads = rows / subgroupRows * (columns / subgroupColumns) * unit.lanes;
          assert(matrixTileBytes(cut.tile, unit, geglu) <= workgroupBytes);
          assertEquals([subgroupRows % ((geglu ? 2 : 1) * unit.shape.m), subgroupColumns % unit.shape.n], [0, 0]);
          assertEquals([depth % unit.shape.k, depth * rows / 8 % threads, depth * columns / 8 % threads], [0, 0, 0]);
        }
      }
    }
  }
  assertEquals(chooseMatrixCut(shapeOf(64, 64, 64, { workgroupBytes: 1024 })), undefined);
  for (const unit of UNITS) assert(chooseMatrixCut(shapeOf(64, 64, 64, { unit, workgroupBytes: 16384 })));
});
