import { assertThrows } from "@std/assert";
import type { ConvolutionOptions } from "../../kernels/ops.ts";
import { AUTO } from "../../kernels/optimizations.ts";
import { map, type NumberArray } from "../../kernels/reference/array.ts";
import { convolution } from "../../kernels/reference/convolution.ts";
import { geglu } from "../../kernels/reference/elementwise.ts";
import { channelsOf } from "../../kernels/tensor.ts";
import {
  activationTolerance,
  assertClose,
  type Bench,
  dotTolerance,
  EPSILON,
  highest,
  type LayerParts,
  random,
  randomValues,
  testBackends,
} from "./harness.ts";

/** `[batch, in, height, width]` and the outputs. */
type Case = readonly [batch: number, inputs: number, height: number, width: number, outputs: number];

const LINEAR: readonly Case[] = [
  [1, 1, 1, 1, 1], // One value.
  [1, 3, 1, 7, 5],
  [1, 4, 8, 1, 4], // Whole texels and lanes.
  [2, 5, 1, 9, 9],
  [1, 16, 8, 8, 16], // One whole tile.
  [1, 17, 5, 13, 33], // A tail in every direction.
  [1, 2, 1, 1000, 1], // Wide and flat.
  [3, 7, 3, 3, 2],
  [1, 8, 1, 3, 16390], // More outputs than a texture is wide, as all timestep projections of Stable Diffusion 1.4.
  [1, 320, 1, 1, 1280], // The timestep of Stable Diffusion 1.4.
  [1, 768, 77, 1, 40], // Its context.
  [2, 32, 16, 16, 96], // tiny-sd1's queries, keys and values.
  [2, 96, 2, 2, 96], // tiny-sd1's lowest resolution.
];

const CONVOLUTION: readonly (readonly [...Case, options?: ConvolutionOptions])[] = [
  [1, 1, 1, 1, 1],
  [1, 3, 5, 7, 5],
  [2, 4, 3, 3, 4],
  [1, 5, 1, 9, 3],
  [2, 9, 6, 5, 17],
  [1, 16, 8, 8, 16],
  [2, 4, 16, 16, 32], // tiny-sd1's first layer.
  [1, 6, 8, 8, 6, { stride: 2 }],
  [2, 5, 7, 9, 4, { stride: 2 }],
  [1, 5, 8, 6, 7, { stride: 2, pad: 0, padEnd: 1 }], // Downsampling of the VAE.
  [2, 4, 5, 3, 5, { upsample: 2 }],
  [1, 7, 5, 4, 3, { upsample: 2, image: [9, 7] }], // Upsampling to an odd size.
];

/** Weights that float16 holds exactly, so that both storage types compute the same. */
function halves(seed: number, count: number): Float64Array {
  return Float64Array.from(Float16Array.from(randomValues(seed, count)));
}

function layerParts(seed: number, inputs: number, outputs: number, size: number): Required<LayerParts> {
  return {
    weights: halves(seed, outputs * inputs * size * size),
    bias: randomValues(seed + 1, outputs),
    out: outputs,
    size,
    half: false,
  };
}

/** A dot product of `length` terms, a bias and perhaps a residual: each addition rounds a sum below 4. */
function tolerance(length: number): number {
  return dotTolerance(length) + 4 * EPSILON * 2;
}

async function compare(bench: Bench, x: NumberArray, parts: LayerParts, options: ConvolutionOptions): Promise<void> {
  const input = bench.tensor(x);
  const want = convolution(x, { ...parts, ...options });
  for (const half of [false, true]) {
    const layer = bench.layer({ ...parts, half });
    const got = await bench.run(() => bench.ops.convolve(input, layer, options));
    assertClose(got, want, tolerance(x.channels * parts.size ** 2), half ? "float16 weights" : "float32 weights");
  }
}

testBackends("linear layers equal the reference", async (bench, t) => {
  for (const shape of LINEAR) {
    const [batch, inputs, height, width, outputs] = shape;
    await t.step(shape.join(" "), () => {
      const x = random(1, batch, inputs, height, width);
      return compare(bench, x, layerParts(2, inputs, outputs, 1), {});
    });
  }
});

testBackends("3x3 convolutions equal the reference", async (bench, t) => {
  for (const [batch, inputs, height, width, outputs, options = {}] of CONVOLUTION) {
    await t.step(`${[batch, inputs, height, width, outputs]} ${JSON.stringify(options)}`, () => {
      const x = random(3, batch, inputs, height, width);
      return compare(bench, x, layerParts(4, inputs, outputs, 3), options);
    });
  }
});

testBackends("more columns than a texture is wide", async (bench, t) => {
  for (const size of [1, 3]) {
    await t.step(`${size}x${size} on 130x130`, () => {
      const x = random(5, 1, 5, 130, 130);
      return compare(bench, x, layerParts(6, 5, 3, size), {});
    });
  }
});

const GATED: readonly Case[] = [
  [1, 4, 1, 1, 8],
  [2, 5, 3, 3, 24],
  [2, 32, 16, 16, 256], // tiny-sd1.
];

for (const gelu of [true, false]) {
  testBackends(`GEGLU in ${gelu ? "one launch" : "launches of its own"} equals the reference`, async (bench, t) => {
    for (const shape of GATED) {
      const [batch, inputs, height, width, outputs] = shape;
      await t.step(shape.join(" "), async () => {
        const x = random(10, batch, inputs, height, width);
        const parts = layerParts(11, inputs, outputs, 1);
        const sums = convolution(x, parts);
        const most = highest(sums);
        // Each factor is as wrong as a sum, and is multiplied by the other.
        const allowed = most * (2.2 * tolerance(inputs) + activationTolerance(most));
        const input = bench.tensor(x);
        for (const half of [false, true]) {
          const layer = bench.layer({ ...parts, half });
          const got = await bench.run(() => bench.ops.linear(input, layer, { activation: "geglu" }));
          assertClose(got, geglu(sums), allowed, half ? "float16 weights" : "float32 weights");
        }
      });
    }
  }, { ...AUTO, gelu });
}

testBackends("a layer reads the channels it is given and no others", async (bench) => {
  const all = random(15, 2, 16, 5, 5);
  all.values.forEach((_, i) => {
    const channel = Math.floor(i / 25) % 16;
    if (channel < 4 || channel >= 12) all.values[i] = NaN;
  });
  const chosen = { ...all, channels: 8, values: all.values.filter((value) => !Number.isNaN(value)) };
  for (const size of [1, 3]) {
    const parts = layerParts(16, 8, 5, size);
    const layer = bench.layer(parts);
    const view = channelsOf(bench.tensor(all), 4, 8);
    const got = await bench.run(() => bench.ops.convolve(view, layer));
    assertClose(got, convolution(chosen, parts), tolerance(8 * size * size), `${size}x${size}`);
  }
});

testBackends("a layer writes the channels it is given and no others", async (bench) => {
  const x = random(20, 2, 6, 5, 5);
  const all = random(21, 2, 16, 5, 5);
  for (const size of [1, 3]) {
    const parts = layerParts(22, 6, 8, size);
    const [input, layer, out] = [bench.tensor(x), bench.layer(parts), bench.tensor(all)];
    const got = await bench.run(() => {
      bench.ops.convolve(input, layer, { into: channelsOf(out, 4, 8) });
      return out;
    });
    const { values } = convolution(x, parts);
    const want = map(all, (i) => {
      const [sample, channel, pixel] = [Math.floor(i / 25 / 16), Math.floor(i / 25) % 16 - 4, i % 25];
      return channel < 0 || channel >= 8 ? all.values[i]! : values[(sample * 8 + channel) * 25 + pixel]!;
    });
    assertClose(got, want, tolerance(6 * size * size), `${size}x${size}`);
  }
});

testBackends("a centred one is the identity", async (bench) => {
  const x = random(17, 2, 5, 6, 7);
  const weights = new Float64Array(5 * 5 * 9);
  for (let channel = 0; channel < 5; channel++) weights[(channel * 5 + channel) * 9 + 4] = 1;
  const [input, layer] = [bench.tensor(x), bench.layer({ weights, out: 5, size: 3 })];
  assertClose(await bench.run(() => bench.ops.convolve(input, layer)), x, 0, "identity");
});

testBackends("a layer refuses an input of other channels", (bench) => {
  const [input, layer] = [bench.tensor(random(18, 1, 4, 2, 2)), bench.layer(layerParts(19, 5, 3, 1))];
  assertThrows(() => bench.ops.linear(input, layer), RangeError, "5 inputs was given a tensor [1, 4, 2, 2]");
  return Promise.resolve();
});
