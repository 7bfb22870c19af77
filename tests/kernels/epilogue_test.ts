import { assert, assertRejects } from "@std/assert";
import type { Activation, Backend } from "../../kernels/backend.ts";
import { Gpu } from "../../kernels/gpu.ts";
import type { ConvolutionOptions } from "../../kernels/ops.ts";
import { AUTO, type Optimizations } from "../../kernels/optimizations.ts";
import { map, type NumberArray } from "../../kernels/reference/array.ts";
import { convolution } from "../../kernels/reference/convolution.ts";
import { geglu, gelu, leakyRelu, quickGelu, relu, silu } from "../../kernels/reference/elementwise.ts";
import { channelsOf } from "../../kernels/tensor.ts";
import {
  activationTolerance,
  assertClose,
  BACKENDS,
  type Bench,
  createBench,
  dotTolerance,
  EPSILON,
  HALF_BACKEND,
  highest,
  random,
  randomValues,
  TakenOps,
  testBackends,
} from "./harness.ts";

/** What computes the sums that an epilogue ends: each has its own text for it. */
interface Case {
  readonly inputs: number;
  readonly height: number;
  readonly width: number;
  readonly outputs: number;
  readonly size: 1 | 3;
  /** How many times a dot product's error the sums are off, see winograd_test.ts. */
  readonly amplification?: number;
  /** What the name of the last kernel begins with, where it is not that of the product. */
  readonly last?: Readonly<Partial<Record<Backend["name"], string>>>;
}

const BATCH = 3;

const CASES: Readonly<Record<string, Case>> = {
  "linear layer": { inputs: 12, height: 5, width: 7, outputs: 8, size: 1 },
  "one pixel": { inputs: 5, height: 1, width: 1, outputs: 9, size: 1 },
  "linear layer in parts of its sum": {
    inputs: 300,
    height: 3,
    width: 3,
    outputs: 10,
    size: 1,
    last: { buffer: "add parts" },
  },
  "convolution": { inputs: 6, height: 5, width: 3, outputs: 7, size: 3 },
  "convolution by Winograd": {
    inputs: 6,
    height: 7,
    width: 8,
    outputs: 10,
    size: 3,
    amplification: 94,
    last: { buffer: "winograd output", texture: "winograd output" },
  },
};

const ACTIVATIONS: readonly (readonly [Activation, (x: number) => number])[] = [
  ["silu", silu],
  ["gelu", gelu],
  ["quick_gelu", quickGelu],
  ["relu", relu],
  ["leaky_relu", leakyRelu],
];

/** Half the distance from 1 to the next float16. */
const HALF_EPSILON = 2 ** -11;

/** Products that are added in float16 before their sum is added in float32, see kernels/buffer/product_cut.ts. */
const HALF_DEPTH = 16;

/** The error of a dot product, a bias and a residual; float16 rounds each product and each sum of a few as well. */
function sumTolerance({ inputs, size, amplification }: Case, half: boolean): number {
  if (amplification) return 1.2 * amplification * dotTolerance(inputs);
  const length = inputs * size * size;
  const depth = Math.min(length, HALF_DEPTH);
  const halves = half ? 4 * HALF_EPSILON * depth / (3 * Math.SQRT2) * Math.sqrt(length / depth) : 0;
  return dotTolerance(length) + 8 * EPSILON + halves;
}

/** Random values that float16 holds. */
function halves(values: Float64Array): Float64Array {
  return Float64Array.from(Float16Array.from(values));
}

/** A layer of float16 weights, and an input that is stored as the backend stores activations. */
async function arrange(bench: Bench, { inputs, height, width, outputs, size, last }: Case, rows = outputs) {
  const { ops } = bench;
  const plain = random(1, BATCH, inputs, height, width);
  const x = { ...plain, values: halves(plain.values) };
  const parts = { weights: halves(randomValues(2, rows * inputs * size * size)), out: rows, size };
  const bias = randomValues(3, rows);
  const [exact, input] = [bench.tensor(x), ops.keep(x, "stored", { exact: false })];
  await bench.run(() => {
    ops.copy(exact, input);
    return exact;
  });
  const layer = bench.layer({ ...parts, bias, half: true });
  const { bias: _, ...unbiased } = layer;
  const plus = random(4, BATCH, outputs, height, width);
  return {
    plus,
    residual: bench.tensor(plus),
    /** The sums with the layer's own bias. */
    sums: convolution(x, { ...parts, bias }),
    /** The sums with a bias for each sample. */
    sampleSums(biases: (sample: number, row: number) => number): NumberArray {
      const sums = convolution(x, parts);
      const count = height * width;
      return map(sums, (i) => sums.values[i]! + biases(Math.floor(i / count / rows), Math.floor(i / count) % rows));
    },
    async run({ biased = true, ...options }: ConvolutionOptions & { readonly biased?: boolean }): Promise<NumberArray> {
      const got = await bench.run(() => ops.convolve(input, biased ? layer : unbiased, { ...options, exact: true }));
      const gated = options.activation === "geglu";
      const name = !gated && last?.[ops.backend.name] || (size === 1 ? "product" : "convolution");
      assert(bench.ran.at(-1)!.startsWith(name), `${bench.ran}`);
      return got;
    },
  };
}

/** Defines a test for each backend and for float16 where the adapter has it, a step for each case. */
function testCases(name: string, test: (bench: Bench, shape: Case, half: boolean) => Promise<void>): void {
  for (const backend of [...BACKENDS, HALF_BACKEND]) {
    const half = backend === HALF_BACKEND;
    Deno.test(`${backend.name}${half ? " with float16" : ""}: ${name}`, async (t) => {
      await using gpu = await Gpu.open();
      if (half && !gpu.device.features.has("shader-f16")) return;
      for (const [kind, shape] of Object.entries(CASES)) {
        const winograd = shape.amplification !== undefined;
        const optimizations: Optimizations = { ...AUTO, winograd, shapes: winograd ? "all" : "measured" };
        const bench = createBench(new TakenOps(gpu, backend, { optimizations }));
        await t.step(kind, () => test(bench, shape, half));
      }
      await gpu.finish();
    });
  }
}

testCases("an addition comes after the activation, or first", async (bench, shape, half) => {
  const { plus, residual, sums, run } = await arrange(bench, shape);
  const most = highest(sums) + 1;
  const add = (y: NumberArray) => map(y, (i) => y.values[i]! + plus.values[i]!);
  // After the sums all layers share a text.
  for (const [activation, apply] of shape === CASES["linear layer"] ? ACTIVATIONS : ACTIVATIONS.slice(0, 1)) {
    const allowed = 1.2 * sumTolerance(shape, half) + activationTolerance(most) + 2 * EPSILON * most;
    const active = (y: NumberArray) => map(y, (i) => apply(y.values[i]!));
    const after = await run({ activation, plus: residual });
    assertClose(after, add(active(sums)), allowed, `${activation}, then the addition`);
    const first = await run({ activation, plus: residual, plusFirst: true });
    assertClose(first, active(add(sums)), allowed, `the addition, then ${activation}`);
  }
});

/** `[batch, steps]` of the biases: all samples' or each sample's own, of one step or of several. */
const TABLES = [[1, 1], [1, 3], [BATCH, 1], [BATCH, 3], [BATCH, 4]] as const;

testCases("without a bias or an activation there is none", async (bench, shape, half) => {
  const { plus, residual, sums, sampleSums, run } = await arrange(bench, shape);
  assertClose(await run({}), sums, sumTolerance(shape, half), "bias");
  const want = sampleSums(() => 0);
  const got = await run({ plus: residual, biased: false });
  assertClose(got, map(want, (i) => want.values[i]! + plus.values[i]!), sumTolerance(shape, half), "addition");
});

testCases("the running step chooses the bias, each sample's own where it has one", async (bench, shape, half) => {
  const { ops } = bench;
  const { residual, plus, sampleSums, run } = await arrange(bench, shape);
  const step = ops.buffer(1, "step", "u32");
  for (const [batch, steps] of TABLES) {
    // The table's other rows belong to other layers.
    const rows = 8 + shape.outputs;
    const table = random(5, batch, rows, steps, 1);
    const values = channelsOf(bench.tensor(table), 8, shape.outputs);
    for (const index of new Set([steps - 1, 0])) {
      ops.gpu.write(step, Uint32Array.of(index));
      const got = await run({ stepBias: { values, step }, activation: "silu", plus: residual, plusFirst: true });
      const sums = sampleSums((sample, row) => table.values[((sample % batch) * rows + 8 + row) * steps + index]!);
      const want = map(sums, (i) => silu(sums.values[i]! + plus.values[i]!));
      const allowed = 1.2 * sumTolerance(shape, half) + activationTolerance(highest(sums) + 1);
      assertClose(got, want, allowed, `${batch} samples, step ${index} of ${steps}`);
    }
  }
});

testCases("GEGLU takes each sample's bias", async (bench, shape, half) => {
  if (shape.size === 3) return;
  // Of whole texels.
  const even = { ...shape, outputs: 12 };
  const { sampleSums, run, residual, plus } = await arrange(bench, even, 24);
  const table = random(6, BATCH, 24, 2, 1);
  const step = bench.ops.buffer(1, "step", "u32");
  bench.ops.gpu.write(step, Uint32Array.of(1));
  const sums = sampleSums((sample, row) => table.values[(sample * 24 + row) * 2 + 1]!);
  const gated = geglu(sums);
  const most = highest(sums);
  const got = await run({ stepBias: { values: bench.tensor(table), step }, activation: "geglu", plus: residual });
  const allowed = most * (2.2 * sumTolerance(even, half) + activationTolerance(most)) + 2 * EPSILON * highest(gated);
  assertClose(got, map(gated, (i) => gated.values[i]! + plus.values[i]!), allowed, "GEGLU");
});

testBackends("biases of other samples, and additions before GEGLU, are refused", async (bench) => {
  const { run, residual } = await arrange(bench, CASES["linear layer"]!);
  const values = bench.tensor(random(7, 2, 8, 1, 1));
  const step = bench.ops.buffer(1, "step", "u32");
  await assertRejects(() => run({ stepBias: { values, step } }), RangeError, "A bias of 2 samples");
  const options = { activation: "geglu", plus: residual, plusFirst: true } as const;
  await assertRejects(() => run(options), RangeError, "Nothing can be added before GEGLU");
});

testBackends("activations of large and small numbers are finite and right", async (bench) => {
  const values = Float64Array.of(-1e30, -1e4, -100, -20, -1e-30, 0, 1e-30, 20, 100, 1e4, 1e30).map(Math.fround);
  const input = bench.tensor({ batch: 1, channels: 1, height: 1, width: values.length, values });
  const layer = bench.layer({ weights: Float64Array.of(1), out: 1, size: 1 });
  for (const [activation] of ACTIVATIONS.filter(([activation]) => activation !== "leaky_relu")) {
    const got = await bench.run(() => bench.ops.linear(input, layer, { activation }));
    // All are 0 or the number itself; of -20 sigmoid leaves 4e-8.
    const relative = map(got, (i) => values[i]! > 1 ? got.values[i]! / values[i]! : got.values[i]!);
    assertClose(relative, map(got, (i) => values[i]! > 1 ? 1 : 0), 1e-7, activation);
  }
});
