import { assert } from "@std/assert";
import { winogradPays } from "../../kernels/choice.ts";
import type { ConvolutionOptions, Layer } from "../../kernels/ops.ts";
import { map, type NumberArray, zeros } from "../../kernels/reference/array.ts";
import { convolution } from "../../kernels/reference/convolution.ts";
import { silu } from "../../kernels/reference/elementwise.ts";
import type { Tensor } from "../../kernels/tensor.ts";
import { assertClose, type Bench, dotTolerance, random, randomValues, testFamilies } from "./harness.ts";

/** Outputs that are compared: the reference is too slow for all. The last ones show what is behind a whole texel. */
const COMPARED = 3;

/**
 * How many times a dot product's error the transforms make it. Along one side, the last output of a tile is
 * `sum A_p (G_p . g) (B_p . d)` over the points p, and `sum A_p^2 |G_p|^2 |B_p|^2` is 94; there are two sides.
 */
const AMPLIFICATION = 94;

interface Parts {
  readonly weights: Float64Array;
  readonly bias: Float64Array;
  readonly out: number;
  readonly size: number;
}

function randomParts(seed: number, inputs: number, out: number): Parts {
  const weights = Float64Array.from(Float16Array.from(randomValues(seed, 9 * inputs * out)));
  return { weights, bias: randomValues(seed + 1, out), out, size: 3 };
}

/** The reference for the last {@link COMPARED} outputs. */
function lastOutputs(x: NumberArray, parts: Parts, options: ConvolutionOptions): NumberArray {
  const weights = parts.weights.subarray(-COMPARED * x.channels * 9);
  return convolution(x, { ...options, weights, bias: parts.bias.subarray(-COMPARED), out: COMPARED, size: 3 });
}

/** The last {@link COMPARED} channels. */
function lastChannels(x: NumberArray): NumberArray {
  const pixels = x.height * x.width;
  const first = x.channels - COMPARED;
  return map(zeros(x.batch, COMPARED, x.height, x.width), (i) => {
    const sample = Math.floor(i / (COMPARED * pixels));
    return x.values[(sample * x.channels + first) * pixels + i % (COMPARED * pixels)]!;
  });
}

/** Runs a convolution, after checking that it is one that Winograd is chosen for. */
function convolve(bench: Bench, x: Tensor, layer: Layer, options: ConvolutionOptions = {}): Promise<NumberArray> {
  return bench.run(() => {
    const out = bench.ops.convolve(x, layer, options);
    const window = { outputHeight: out.height, outputWidth: out.width, stride: 1 };
    assert(winogradPays(bench.ops.family.name, layer, { ...window, ...UNUSED }, x.batch), "Winograd is not chosen");
    return out;
  });
}

/** What the choice does not look at. */
const UNUSED = { size: 3, pad: 1, upsample: 1, inputHeight: 0, inputWidth: 0, imageHeight: 0, imageWidth: 0 };

type Case = readonly [
  batch: number,
  inputs: number,
  height: number,
  width: number,
  outputs: number,
  options?: ConvolutionOptions,
];

const CASES: readonly Case[] = [
  [1, 128, 32, 32, 128], // Whole tiles and texels.
  [1, 130, 29, 31, 129], // A tail in every direction.
  [2, 129, 17, 30, 130],
  [1, 128, 16, 16, 128, { upsample: 2 }],
  [1, 128, 16, 16, 128, { upsample: 2, image: [31, 29] }],
  [1, 128, 34, 34, 128, { pad: 0 }],
  [1, 128, 131, 126, 128], // More columns than a texture is wide.
];

testFamilies("Winograd convolutions equal the reference", async (bench, t) => {
  for (const [batch, inputs, height, width, outputs, options = {}] of CASES) {
    await t.step(`${[batch, inputs, height, width, outputs]} ${JSON.stringify(options)}`, async () => {
      const x = random(1, batch, inputs, height, width);
      const parts = randomParts(2, inputs, outputs);
      const input = bench.tensor(x);
      const want = lastOutputs(x, parts, options);
      for (const half of [false, true]) {
        const got = lastChannels(await convolve(bench, input, bench.layer({ ...parts, half }), options));
        assertClose(got, want, AMPLIFICATION * dotTolerance(inputs), half ? "float16" : "float32");
      }
    });
  }
});

testFamilies("Winograd's epilogues equal the reference", async (bench, t) => {
  const x = random(3, 1, 128, 32, 30);
  const parts = randomParts(4, 128, 128);
  const plus = random(5, 1, 128, 32, 30);
  const [input, layer, residual] = [bench.tensor(x), bench.layer(parts), bench.tensor(plus)];
  const sums = lastOutputs(x, parts, {});
  const added = lastChannels(plus);
  const check = async (name: string, options: ConvolutionOptions, want: NumberArray) => {
    await t.step(name, async () => {
      const got = lastChannels(await convolve(bench, input, layer, options));
      assertClose(got, want, 1.2 * AMPLIFICATION * dotTolerance(128), name);
    });
  };
  const active = map(sums, (i) => silu(sums.values[i]!));
  await check("residual", { plus: residual }, map(sums, (i) => sums.values[i]! + added.values[i]!));
  await check(
    "silu and residual",
    { activation: "silu", plus: residual },
    map(active, (i) => active.values[i]! + added.values[i]!),
  );

  const biases = random(6, 1, 128, 3, 1);
  const step = bench.ops.buffer(1, "step", "u32");
  bench.ops.gpu.write(step, new Uint32Array([2]));
  const bias = Float64Array.from({ length: 128 }, (_, row) => biases.values[3 * row + 2]!);
  const stepBias = { values: bench.tensor(biases), step };
  await check("bias of the running step", { stepBias }, lastOutputs(x, { ...parts, bias }, {}));
});

testFamilies("Winograd of a centred one is the identity", async (bench) => {
  const x = random(7, 1, 128, 32, 32);
  const weights = new Float64Array(128 * 128 * 9);
  for (let channel = 0; channel < 128; channel++) weights[(channel * 128 + channel) * 9 + 4] = 1;
  const layer = bench.layer({ weights, out: 128, size: 3 });
  // One product that is not 0, of a one and a value up to one.
  assertClose(await convolve(bench, bench.tensor(x), layer), x, AMPLIFICATION * dotTolerance(1, 1), "identity");
});
