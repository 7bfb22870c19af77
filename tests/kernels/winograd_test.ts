import { assert, assertEquals } from "@std/assert";
import { planTensor } from "../../kernels/backend.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { winogradConvolution } from "../../kernels/layer.ts";
import type { ConvolutionOptions } from "../../kernels/ops.ts";
import { AUTO, type Optimizations } from "../../kernels/optimizations.ts";
import { map } from "../../kernels/reference/array.ts";
import { convolution } from "../../kernels/reference/convolution.ts";
import {
  assertClose,
  type Bench,
  createBench,
  dotTolerance,
  HALF_BACKEND,
  random,
  randomValues,
  TakenOps,
  testBackends,
} from "./harness.ts";

/** Winograd wherever it can run: where it pays, the reference would take minutes. */
const ALL: Optimizations = { ...AUTO, shapes: "all" };

/**
 * How many times a dot product's error the transforms make it. Along one side, the last output of a tile is
 * `sum A_p (G_p . g) (B_p . d)` over the points p, and `sum A_p^2 |G_p|^2 |B_p|^2` is 94; there are two sides.
 */
const AMPLIFICATION = 94;

/** The same of F(2x2), for either output: 5 along one side. */
const NARROW_AMPLIFICATION = 5;

interface Parts {
  readonly weights: Float64Array;
  readonly bias: Float64Array;
  readonly out: number;
  readonly size: 3;
}

/** Weights that float16 holds exactly, and biases. */
function randomParts(seed: number, inputs: number, out: number): Parts {
  const weights = Float64Array.from(Float16Array.from(randomValues(seed, 9 * inputs * out)));
  return { weights, bias: randomValues(seed + 1, out), out, size: 3 };
}

type Case = readonly [
  batch: number,
  inputs: number,
  height: number,
  width: number,
  outputs: number,
  options?: ConvolutionOptions,
];

const CASES: readonly Case[] = [
  [1, 1, 1, 4, 1],
  [1, 3, 5, 8, 5],
  [2, 5, 7, 12, 6],
  [1, 16, 8, 8, 16],
  [2, 4, 16, 16, 32], // tiny-sd1's first layer.
  [1, 64, 16, 16, 66],
  [1, 6, 6, 10, 7, { pad: 0 }],
  [2, 4, 5, 6, 5, { upsample: 2 }],
  [1, 7, 5, 4, 3, { upsample: 2, image: [9, 8] }],
  [1, 5, 129, 128, 3], // More columns than a texture is wide.
];

/** Widths that are not whole tiles: the buffer backend, which stores four pixels at a time, convolves directly. */
const RAGGED: readonly Case[] = [
  [2, 6, 1, 1, 4],
  [1, 9, 6, 7, 5],
];

/** Fails unless the last run transformed tiles. */
function assertWinograd({ ran }: Bench): void {
  assert(ran.some((name) => name.startsWith("winograd input")), `${ran}`);
}

testBackends("Winograd convolutions equal the reference", async (bench, t) => {
  const ragged = bench.ops.backend.name === "texture" ? RAGGED : [];
  for (const [batch, inputs, height, width, outputs, options = {}] of [...CASES, ...ragged]) {
    const x = random(1, batch, inputs, height, width);
    const parts = randomParts(2, inputs, outputs);
    const want = convolution(x, { ...parts, ...options });
    await t.step(`${[batch, inputs, height, width, outputs]} ${JSON.stringify(options)}`, async () => {
      const input = bench.tensor(x);
      for (const half of [false, true]) {
        const layer = bench.layer({ ...parts, half });
        const got = await bench.run(() => bench.ops.convolve(input, layer, options));
        assertWinograd(bench);
        assertClose(got, want, AMPLIFICATION * dotTolerance(inputs), half ? "float16 weights" : "float32 weights");
      }
    });
  }
}, ALL);

Deno.test("F(2x2) in float16 equals the reference", async (t) => {
  await using gpu = await Gpu.open();
  if (!gpu.device.features.has("shader-f16")) return;
  const narrow = HALF_BACKEND.winograds.filter(({ exact }) => !exact);
  const ops = new TakenOps(gpu, { ...HALF_BACKEND, winograds: narrow }, { optimizations: ALL });
  const bench = createBench(ops);
  for (const [batch, inputs, height, width, outputs, options = {}] of CASES) {
    // Values that float16 holds.
    const x = map(random(1, batch, inputs, height, width), (i) => (i * 7919 % 513 - 256) / 256);
    const parts = randomParts(2, inputs, outputs);
    const want = convolution(x, { ...parts, ...options });
    await t.step(`${[batch, inputs, height, width, outputs]} ${JSON.stringify(options)}`, async () => {
      const [input, layer] = [bench.tensor(x), bench.layer({ ...parts, half: true })];
      const got = await bench.run(() => {
        const stored = planTensor(ops.backend, x, "float16");
        ops.copy(input, stored);
        return ops.convolve(stored, layer, { ...options, exact: true });
      });
      assertWinograd(bench);
      // Transformed inputs and weights and products are rounded, as are the sums of the 16 products of a tile's depth.
      const rounded = 4 * 2 ** -11 * Math.sqrt(inputs) * (Math.sqrt(3) + Math.sqrt(16)) / 3;
      assertClose(got, want, NARROW_AMPLIFICATION * (rounded + dotTolerance(inputs)), "convolution");
    });
  }
  ops.dispose();
});

testBackends("Winograd in strips and in shares of its outputs equals the reference", async (bench, t) => {
  const [inputs, outputs] = [6, 130];
  const x = random(8, 2, inputs, 20, 16);
  const parts = randomParts(9, inputs, outputs);
  const plus = random(10, 2, outputs, 20, 16);
  const [input, layer, residual] = [bench.tensor(x), bench.layer(parts), bench.tensor(plus)];
  const sums = convolution(x, parts);
  const want = map(sums, (i) => sums.values[i]! + plus.values[i]!);
  const image = { inputHeight: 20, inputWidth: 16, imageHeight: 20, imageWidth: 16, outputHeight: 20, outputWidth: 16 };
  const window = { size: 3, stride: 1, pad: 1, upsample: 1, ...image };
  const { backend } = bench.ops;
  for (const [strip, weights, strips, shares] of [[1, 1, 5, 3], [4e5, 2e5, 3, 2], [1e6, 1e6, 1, 1]] as const) {
    await t.step(`${strips} strips, ${shares} shares`, async () => {
      const got = await bench.run(() => {
        const out = planTensor(backend, want, "product");
        const epilogue = { bias: layer.bias!, plus: residual };
        const launches = winogradConvolution(backend, backend.winograds[0]!, {
          x: input,
          layer,
          out,
          window,
          mostBytes: { strip, weights },
          ...epilogue,
        });
        assertEquals(launches.filter(({ kernel }) => kernel.name.startsWith("winograd weights")).length, shares);
        assertEquals(
          launches.filter(({ kernel }) => kernel.name.startsWith("winograd output")).length,
          strips * shares,
        );
        bench.ops.launch(...launches);
        return out;
      });
      assertClose(got, want, 1.2 * AMPLIFICATION * dotTolerance(inputs), "convolution");
    });
  }
}, ALL);

testBackends("Winograd of a centred one is the identity", async (bench) => {
  const x = random(7, 2, 5, 9, 8);
  const weights = new Float64Array(5 * 5 * 9);
  for (let channel = 0; channel < 5; channel++) weights[(channel * 5 + channel) * 9 + 4] = 1;
  const [input, layer] = [bench.tensor(x), bench.layer({ weights, out: 5, size: 3 })];
  const got = await bench.run(() => bench.ops.convolve(input, layer));
  assertWinograd(bench);
  // One product that is not 0, of a one and a value up to one.
  assertClose(got, x, AMPLIFICATION * dotTolerance(1, 1), "identity");
}, ALL);
