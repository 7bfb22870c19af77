import { planTensor } from "../../kernels/planned.ts";
import { transpose } from "../../kernels/reference/attention.ts";
import { map } from "../../kernels/reference/array.ts";
import { concat, gelu, quickGelu, silu } from "../../kernels/reference/elementwise.ts";
import type { Activation } from "../../kernels/backend.ts";
import { activationTolerance, assertClose, EPSILON, highest, random, testBackends } from "./harness.ts";

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

const FUNCTIONS = { none: (x: number) => x, silu, gelu, quick_gelu: quickGelu } as const;

testBackends("activations equal the reference", async (bench, t) => {
  for (const shape of SHAPES) {
    await t.step(`${shape}`, async () => {
      const numbers = random(1, ...shape);
      const x = map(numbers, (i) => 8 * numbers.values[i]!);
      const input = bench.tensor(x);
      for (
        const [activation, apply] of Object.entries(FUNCTIONS) as [keyof typeof FUNCTIONS, (x: number) => number][]
      ) {
        const got = await bench.run(() => bench.ops.activate(input, activation));
        const allowed = activation === "none" ? 0 : activationTolerance(highest(x));
        assertClose(got, map(x, (i) => apply(x.values[i]!)), allowed, activation);
      }
    });
  }
});

testBackends("activations of large and small numbers are finite and right", async (bench) => {
  const values = Float64Array.of(-1e30, -1e4, -100, -20, -1e-30, 0, 1e-30, 20, 100, 1e4, 1e30).map(Math.fround);
  const x = { batch: 1, channels: 1, height: 1, width: values.length, values };
  const input = bench.tensor(x);
  for (const activation of ["silu", "gelu", "quick_gelu"] satisfies Activation[]) {
    const got = await bench.run(() => bench.ops.activate(input, activation));
    // All are 0 or the number itself; of -20 sigmoid leaves 4e-8.
    const relative = map(got, (i) => values[i]! > 1 ? got.values[i]! / values[i]! : got.values[i]!);
    assertClose(relative, map(x, (i) => values[i]! > 1 ? 1 : 0), 1e-7, activation);
  }
});

testBackends("sums and products equal the reference", async (bench, t) => {
  for (const shape of SHAPES) {
    await t.step(`${shape}`, async () => {
      const [x, y] = [random(2, ...shape), random(3, ...shape)];
      const [left, right] = [bench.tensor(x), bench.tensor(y)];
      const { backend } = bench.ops;
      const sum = await bench.run(() => bench.ops.add(left, right));
      assertClose(sum, map(x, (i) => x.values[i]! + y.values[i]!), 2 * EPSILON, "sum");
      const product = await bench.run(() => {
        const out = planTensor(backend, left, "product");
        bench.ops.launch(backend.multiply(left, right, out));
        return out;
      });
      assertClose(product, map(x, (i) => x.values[i]! * y.values[i]!), EPSILON, "product");
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
      const want = transpose(x);
      const input = bench.tensor(x);
      const got = await bench.run(() => {
        const turned = planTensor(bench.ops.backend, want, "transposed");
        bench.ops.launch(bench.ops.backend.transpose(input, turned));
        return turned;
      });
      assertClose(got, want, 0, "transposition");
    });
  }
});
