import { assertEquals, assertThrows } from "@std/assert";
import { scoredAttention } from "../../kernels/attention.ts";
import { planTensor } from "../../kernels/backend.ts";
import { combine, separateGroupNorm } from "../../kernels/baseline.ts";
import type { Launch } from "../../kernels/launch.ts";
import { Ops } from "../../kernels/ops.ts";
import { BASELINE } from "../../kernels/optimizations.ts";
import { attention } from "../../kernels/reference/attention.ts";
import { map, type NumberArray } from "../../kernels/reference/array.ts";
import { convolution } from "../../kernels/reference/convolution.ts";
import { geglu } from "../../kernels/reference/elementwise.ts";
import { groupNorm } from "../../kernels/reference/normalization.ts";
import type { Tensor } from "../../kernels/tensor.ts";
import {
  activationTolerance,
  assertClose,
  type Bench,
  dotTolerance,
  EPSILON,
  highest,
  random,
  randomValues,
  testBackends,
} from "./harness.ts";

/** `[batch, channels, height, width]` and the groups. */
const GROUPS: readonly (readonly [number, number, number, number, number])[] = [
  [1, 4, 1, 2, 1],
  [1, 4, 3, 3, 4], // Groups of one channel: four in a texel.
  [1, 20, 4, 4, 4], // Of five: a texel spans two groups.
  [2, 40, 6, 7, 4], // Of ten, as in Stable Diffusion 1.4.
  [2, 32, 16, 16, 16], // tiny-sd1.
  [3, 96, 8, 8, 32], // Of three: four groups are three texels.
  [1, 8, 130, 130, 2], // More pixels than a texture is wide.
];

function normalise({ ops }: Bench, x: Tensor, affine: Tensor, groups: number): Tensor {
  const out = planTensor(ops.backend, x, "normalised");
  ops.launch(...separateGroupNorm(ops.backend, { x, out, affine, groups, epsilon: 1e-5, silu: false }));
  return out;
}

testBackends("group normalisation in launches of its own equals the reference", async (bench, t) => {
  for (const [batch, channels, height, width, groups] of GROUPS) {
    await t.step(`${[batch, channels, height, width]} in ${groups} groups`, async () => {
      const x = random(1, batch, channels, height, width);
      const [weight, bias] = [randomValues(2, channels), randomValues(3, channels)];
      const want = groupNorm(x, weight, bias, { groups, epsilon: 1e-5 });
      const [input, affine] = [bench.tensor(x), bench.affine(weight, bias)];
      const got = await bench.run(() => normalise(bench, input, affine, groups));
      // Mean and variance are dot products; subtracting, scaling and shifting round five times.
      const count = channels / groups * height * width;
      const allowed = 4 * EPSILON * Math.sqrt(count) * (1 + highest(want) / 2) + 5 * EPSILON * highest(want);
      assertClose(got, want, allowed, "group norm");
    });
  }
});

testBackends("channels that are not whole groups are refused", (bench) => {
  const [x, affine] = [bench.tensor(random(1, 1, 12, 2, 2)), bench.affine(randomValues(2, 12), randomValues(3, 12))];
  assertThrows(() => normalise(bench, x, affine, 5), RangeError, "12 channels cannot be normalised in 5 groups");
  return Promise.resolve();
});

/** `[batch, channels, height, width]`. */
const SHAPES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 1, 1],
  [1, 3, 5, 7],
  [2, 6, 5, 3],
  [2, 6, 1, 65],
  [2, 96, 2, 2],
  [1, 16, 130, 130],
];

testBackends("sums and products equal the reference", async (bench, t) => {
  const { backend } = bench.ops;
  for (const shape of SHAPES) {
    await t.step(`${shape}`, async () => {
      const [x, y] = [random(1, ...shape), random(2, ...shape)];
      const inputs = { x: bench.tensor(x), y: bench.tensor(y) };
      const compare = async (
        name: string,
        launch: (out: Tensor) => Launch,
        want: (i: number) => number,
        allowed: number,
      ) => {
        const got = await bench.run(() => {
          const out = planTensor(backend, x, name);
          bench.ops.launch(launch(out));
          return out;
        });
        assertClose(got, map(x, want), allowed, name);
      };
      const [a, b] = [x.values, y.values];
      await compare("sum", (out) => combine(backend, "+", inputs, out), (i) => a[i]! + b[i]!, 2 * EPSILON);
      await compare("product", (out) => combine(backend, "*", inputs, out), (i) => a[i]! * b[i]!, EPSILON);
    });
  }
});

testBackends("GEGLU in launches of its own equals the reference", async (bench) => {
  const ops = new Ops(bench.ops.gpu, bench.ops.backend, { optimizations: BASELINE });
  const [inputs, outputs] = [12, 16];
  const [x, plus] = [random(1, 2, inputs, 5, 7), random(2, 2, outputs, 5, 7)];
  const [weights, bias] = [randomValues(3, 2 * outputs * inputs), randomValues(4, 2 * outputs)];
  const gated = geglu(convolution(x, { weights, bias, out: 2 * outputs, size: 1 }));
  const want = map(gated, (i) => gated.values[i]! + plus.values[i]!);
  const [input, residual] = [bench.tensor(x), bench.tensor(plus)];
  const layer = bench.layer({ weights, bias, out: 2 * outputs, size: 1 });
  const out = ops.keep(plus, "output");
  const program = ops.record(() => {
    ops.copy(ops.linear(input, layer, { activation: "geglu", plus: residual }), out);
  });
  program.run();
  const got = { ...plus, values: Float64Array.from(await ops.read(out)) };
  program.dispose();
  // Values and gates are dot products of numbers up to 1 and biases, and GELU is at most 1.13 times as steep.
  const most = highest(gated) + inputs;
  assertClose(got, want, 2.13 * most * dotTolerance(inputs) + activationTolerance(most), "GEGLU");
});

/** `[batch, heads, width of a head, queries, keys]`. */
const ATTENTIONS: readonly (readonly [number, number, number, number, number])[] = [
  [1, 1, 8, 1, 1],
  [2, 3, 8, 33, 9], // A tail in every direction.
  [2, 4, 8, 64, 77], // The context of tiny-sd1.
  [1, 2, 40, 64, 64], // Stable Diffusion 1.4.
  [1, 1, 512, 17, 17], // The middle of the VAE.
];

testBackends("attention with scores in memory equals the reference", async (bench, t) => {
  for (const [batch, heads, width, queries, keys] of ATTENTIONS) {
    const channels = heads * width;
    const [q, k, v] = [queries, keys, keys].map((tokens, i) => random(i, batch, channels, tokens, 1)) as [
      NumberArray,
      NumberArray,
      NumberArray,
    ];
    const want = attention(q, k, v, { heads });
    // Scores are off as dot products are, weights by as much and by what `exp` is; their mean adds a dot product.
    const most = 4 / 3 * Math.sqrt(width);
    const scores = dotTolerance(width) / Math.sqrt(width);
    const allowed = 2 * (scores + 2 * EPSILON * (3 + 2 * most)) + 4 * EPSILON * Math.sqrt(keys);
    for (const [fused, mostBytes] of [[false, Infinity], [true, Infinity], [false, 1], [true, 1]] as const) {
      const name = `${fused ? "partially fused" : "stored"}${mostBytes === 1 ? ", head by head" : ""}`;
      await t.step(`${name} ${[batch, heads, width, queries, keys]}`, async () => {
        const [a, b, c] = [bench.tensor(q), bench.tensor(k), bench.tensor(v)];
        const got = await bench.run(() => {
          const out = planTensor(bench.ops.backend, q, "attention");
          const spec = { q: a, k: b, v: c, out, heads, causal: false, fused };
          const launches = scoredAttention(bench.ops.backend, spec, mostBytes);
          const whole = scoredAttention(bench.ops.backend, spec);
          assertEquals(launches.length, whole.length * (mostBytes === 1 ? heads : 1));
          bench.ops.launch(...launches);
          return out;
        });
        assertClose(got, want, allowed, name);
      });
    }
  }
});
