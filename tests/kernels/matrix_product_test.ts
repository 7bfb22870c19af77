import { assert } from "@std/assert";
import type { Backend, ProductSpec } from "../../kernels/backend.ts";
import { type MatrixCut, matrixProduct, type MatrixTile } from "../../kernels/buffer/matrix_product.ts";
import type { MatrixUnit } from "../../kernels/buffer/matrix.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { bufferBackends } from "../../kernels/mod.ts";
import type { ConvolutionOptions } from "../../kernels/ops.ts";
import { AUTO } from "../../kernels/optimizations.ts";
import { map } from "../../kernels/reference/array.ts";
import { convolution } from "../../kernels/reference/convolution.ts";
import { geglu, silu } from "../../kernels/reference/elementwise.ts";
import {
  activationTolerance,
  assertClose,
  type Bench,
  createBench,
  dotTolerance,
  EPSILON,
  highest,
  random,
  randomValues,
  TakenOps,
} from "./harness.ts";

type Case = readonly [
  batch: number,
  inputs: number,
  height: number,
  width: number,
  outputs: number,
  options?: ConvolutionOptions & { readonly size?: 3; readonly splits?: number },
];

const CASES: readonly Case[] = [
  [1, 32, 8, 8, 64], // One tile at most.
  [1, 40, 1, 16, 24], // Tails of all three.
  [2, 77, 5, 7, 20], // Rows that are no multiples of 16 bytes, samples that are padded.
  [2, 64, 8, 8, 128, { splits: 2 }],
  [1, 320, 1, 24, 72, { splits: 3 }],
  [2, 48, 8, 8, 64, { activation: "geglu" }],
  [1, 40, 3, 3, 40, { activation: "geglu" }],
  [1, 24, 9, 12, 200, { activation: "silu" }],
  [2, 32, 8, 8, 64, { size: 3 }], // Pieces of eight pixels.
  [1, 17, 3, 16, 24, { size: 3 }],
  [1, 32, 5, 8, 32, { size: 3, splits: 2 }],
  [2, 16, 5, 7, 20, { size: 3 }], // Single pixels.
  [1, 24, 8, 8, 40, { size: 3, stride: 2 }],
  [1, 16, 16, 16, 24, { size: 3, stride: 2, pad: 0, padEnd: 1 }],
  [2, 16, 4, 4, 32, { size: 3, upsample: 2 }], // Pieces, doubled.
  [1, 20, 3, 8, 24, { size: 3, upsample: 2 }],
  [1, 16, 5, 6, 24, { size: 3, upsample: 2, image: [9, 11] }],
];

/** Tiles of small and uneven sizes: large ones take llvmpipe long to compile. */
function tilesOf({ shape: { m, n, k }, lanes }: MatrixUnit): readonly MatrixTile[] {
  const [high, wide] = [2 * m, Math.max(n, 16)];
  return lanes > 16
    ? [
      { rows: 64, columns: 64, subgroupRows: 32, subgroupColumns: 32, depth: 32, double: true },
      { rows: 128, columns: 128, subgroupRows: 64, subgroupColumns: 64, depth: 32, double: false },
      { rows: 32, columns: 128, subgroupRows: 32, subgroupColumns: 32, depth: 64, double: true },
    ]
    : [
      { rows: high, columns: 2 * wide, subgroupRows: high, subgroupColumns: wide, depth: 2 * k, double: false },
      { rows: 2 * high, columns: wide, subgroupRows: high, subgroupColumns: wide, depth: 4 * k, double: true },
    ];
}

/** Random values that float16 holds. */
function halves(values: Float64Array): Float64Array {
  return Float64Array.from(Float16Array.from(values));
}

/** The backend's half, whose products are cut as `cutAs` says. */
function cutting(backend: Backend, cutAs: { current?: MatrixCut }): Backend {
  const launches = (spec: ProductSpec) => () => matrixProduct(spec, cutAs.current!);
  return { ...backend, product: (spec) => [{ kernels: "on matrices", launches: launches(spec) }] };
}

async function compare(bench: Bench, cutAs: { current?: MatrixCut }, unit: MatrixUnit, shape: Case): Promise<void> {
  const [batch, inputs, height, width, outputs, { size = 1, splits = 1, activation, ...options } = {}] = shape;
  const { ops } = bench;
  const plain = random(1, batch, inputs, height, width);
  const x = { ...plain, values: halves(plain.values) };
  const gated = activation === "geglu";
  const rows = gated ? 2 * outputs : outputs;
  const parts = { weights: halves(randomValues(2, rows * inputs * size * size)), out: rows, size };
  const bias = randomValues(3, rows);
  const sums = convolution(x, { ...parts, ...options, bias });
  const active = gated ? geglu(sums) : activation === "silu" ? map(sums, (i) => silu(sums.values[i]!)) : sums;
  const layer = bench.layer({ ...parts, bias, half: true });
  const [exact, input] = [bench.tensor(x), ops.keep(x, "stored", { exact: false })];
  await bench.run(() => {
    ops.copy(exact, input);
    return exact;
  });
  const plus = random(4, batch, outputs, active.height, active.width);
  const residual = bench.tensor(plus);
  const most = highest(sums);
  const allowed = (gated ? most : 1) * (dotTolerance(inputs * size * size) + 8 * EPSILON) +
    (activation ? activationTolerance(most) : 0) + 4 * EPSILON * highest(active);
  const want = map(active, (i) => active.values[i]! + plus.values[i]!);
  for (const tile of tilesOf(unit)) {
    cutAs.current = { unit, tile, splits };
    const got = await bench.run(() =>
      ops.convolve(input, layer, { ...options, ...(activation && { activation }), plus: residual, exact: true })
    );
    assertClose(got, want, allowed, JSON.stringify(tile));
  }
}

Deno.test("products and convolutions on matrices equal the reference, however they are cut", async (t) => {
  await using gpu = await Gpu.open();
  const [shape] = gpu.matrices;
  if (!shape || !gpu.subgroupSize) return;
  const unit = { shape, lanes: gpu.subgroupSize };
  const cutAs: { current?: MatrixCut } = {};
  assert(tilesOf(unit).length >= 2, JSON.stringify(unit));
  const ops = new TakenOps(gpu, cutting(bufferBackends(gpu).half, cutAs), {
    optimizations: { ...AUTO, winograd: false },
  });
  const bench = createBench(ops);
  for (const shape of CASES) await t.step(JSON.stringify(shape), () => compare(bench, cutAs, unit, shape));
  await gpu.finish();
});
