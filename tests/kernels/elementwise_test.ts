import { assert, assertEquals } from "@std/assert";
import { planTensor, type ValueFunction } from "../../kernels/backend.ts";
import { copy, transpose } from "../../kernels/elementwise.ts";
import { transpose as transposed } from "../../kernels/reference/attention.ts";
import { map } from "../../kernels/reference/array.ts";
import { concat, FUNCTIONS } from "../../kernels/reference/elementwise.ts";
import { activationTolerance, assertClose, EPSILON, random, testBackends } from "./harness.ts";

/** `[batch, channels, height, width]`. */
const SHAPES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 1, 1],
  [1, 4, 1, 1],
  [1, 3, 5, 7],
  [2, 5, 3, 3],
  [1, 8, 8, 8],
  [2, 6, 1, 65],
  [1, 17, 9, 1],
  [3, 4, 2, 2],
  [2, 32, 16, 16], // tiny-sd1, from the highest resolution
  [2, 96, 2, 2], // to the lowest.
  [1, 320, 8, 8], // Stable Diffusion 1.4.
  [1, 4, 130, 130], // More columns than a texture is wide.
];

testBackends("a copy is exact", async (bench, t) => {
  for (const shape of SHAPES) {
    await t.step(`${shape}`, async () => {
      const x = random(1, ...shape);
      const input = bench.tensor(x);
      const got = await bench.run(() => {
        const out = planTensor(bench.ops.backend, x, "copy");
        bench.ops.launch(copy(bench.ops.backend, input, out));
        return out;
      });
      assertClose(got, x, 0, "copy");
    });
  }
});

testBackends("a scaled sum equals its definition", async (bench, t) => {
  for (const shape of SHAPES) {
    await t.step(`${shape}`, async () => {
      const [x, y] = [random(2, ...shape), random(3, ...shape)];
      const [first, second] = [bench.tensor(x), bench.tensor(y)];
      const want = map(x, (i) => 0.2 * x.values[i]! + y.values[i]!);
      assertClose(await bench.run(() => bench.ops.addScaled(first, second, 0.2)), want, 4 * EPSILON, "sum");
    });
  }
});

testBackends("concatenation is exact", async (bench, t) => {
  for (const [batch, channels, height, width] of SHAPES) {
    // What comes first is whole texels; what follows need not be.
    const first = Math.ceil(channels / 4) * 4;
    await t.step(`${[batch, first, height, width]} and ${channels}`, async () => {
      const x = random(4, batch, first, height, width);
      const y = random(5, batch, channels, height, width);
      const [above, below] = [bench.tensor(x), bench.tensor(y)];
      assertClose(await bench.run(() => bench.ops.concat(above, below)), concat(x, y), 0, "concatenation");
    });
  }
});

testBackends("transposition is exact", async (bench, t) => {
  for (const shape of SHAPES.filter(([, channels]) => channels % 4 === 0)) {
    await t.step(`${shape}`, async () => {
      const x = random(6, ...shape);
      const want = transposed(x);
      const input = bench.tensor(x);
      const got = await bench.run(() => {
        const turned = planTensor(bench.ops.backend, want, "transposed");
        bench.ops.launch(transpose(bench.ops.backend, input, turned));
        return turned;
      });
      assertClose(got, want, 0, "transposition");
    });
  }
});

testBackends("functions of values equal the reference", async (bench, t) => {
  for (const shape of SHAPES) {
    await t.step(`${shape}`, async () => {
      const plain = random(7, ...shape);
      // From -8 to 8: a clamp to 3 bends far before.
      const x = map(plain, (i) => Math.fround(8 * plain.values[i]!));
      const input = bench.tensor(x);
      for (const [f, apply] of Object.entries(FUNCTIONS) as [ValueFunction, (x: number) => number][]) {
        const got = await bench.run(() => bench.ops.activate(input, f));
        assertClose(got, map(x, (i) => apply(x.values[i]!)), activationTolerance(8), f);
      }
    });
  }
});

testBackends("ReLUs and the clamp hide no number that is none, and the clamp takes any size", async (bench) => {
  const values = Float64Array.of(NaN, -3e38, -1e4, -100, 100, 1e4, 3e38, NaN).map(Math.fround);
  const input = bench.tensor({ batch: 1, channels: 1, height: 1, width: values.length, values });
  const layer = bench.layer({ weights: Float64Array.of(1), out: 1, size: 1 });
  const clamped = await bench.run(() => bench.ops.activate(input, "soft_clamp"));
  assertEquals([...clamped.values], [NaN, -3, -3, -3, 3, 3, 3, NaN]);
  for (const [f, slope] of [["relu", 0], ["leaky_relu", 0.2]] as const) {
    const below = values.subarray(1, 4).map((value) => slope * value);
    const made = [
      await bench.run(() => bench.ops.activate(input, f)),
      await bench.run(() => bench.ops.linear(input, layer, { activation: f })),
    ];
    for (const { values: got } of made) {
      assertEquals([got[0], ...got.subarray(4)], [NaN, ...values.subarray(4)]);
      below.forEach((want, i) => assert(Math.abs(got[i + 1]! - want) <= 4 * EPSILON * Math.abs(want), `${got}`));
    }
  }
});
