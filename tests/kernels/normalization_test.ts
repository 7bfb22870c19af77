import { assertThrows } from "@std/assert";
import { AUTO } from "../../kernels/optimizations.ts";
import { map, type NumberArray } from "../../kernels/reference/array.ts";
import { silu } from "../../kernels/reference/elementwise.ts";
import { groupNorm, layerNorm } from "../../kernels/reference/normalization.ts";
import { activationTolerance, assertClose, EPSILON, highest, random, randomValues, testBackends } from "./harness.ts";

const NORM = { epsilon: 1e-5 };

/**
 * Errors of outputs up to `most` of a normalisation over `count` values. Mean and variance are dot products of
 * `count` terms, so each is off by 4 epsilon sqrt(count) of its size, which moves an output by as much and by half
 * its own size; subtracting, scaling and shifting round five times.
 */
function tolerance(count: number, most: number): number {
  return 4 * EPSILON * Math.sqrt(count) * (1 + most / 2) + 5 * EPSILON * most;
}

/** `[batch, channels, height, width]` and the groups. */
const GROUPS: readonly (readonly [number, number, number, number, number])[] = [
  [1, 4, 1, 2, 1],
  [1, 4, 3, 3, 4], // Groups of one channel: four in a texel.
  [2, 8, 5, 3, 4], // Of two: two in a texel.
  [1, 20, 4, 4, 4], // Of five: a texel spans two groups.
  [2, 24, 3, 5, 4], // Of six.
  [1, 40, 6, 7, 4], // Of ten, as in Stable Diffusion 1.4.
  [1, 60, 5, 5, 2], // Of thirty.
  [1, 12, 8, 8, 1], // One group.
  [2, 32, 16, 16, 16], // tiny-sd1.
  [2, 96, 2, 2, 16],
  [1, 96, 32, 32, 32], // Of three: four groups are three texels.
  [1, 8, 130, 130, 2], // More pixels than a texture is wide; two launches of the buffer backend.
  [2, 8, 51, 53, 2], // Chunks of two launches that end within a row.
];

for (const normalization of [true, false]) {
  testBackends(
    `group normalisation in ${normalization ? "one launch" : "several"} equals the reference`,
    async (bench, t) => {
      for (const [batch, channels, height, width, groups] of GROUPS) {
        await t.step(`${[batch, channels, height, width]} in ${groups} groups`, async () => {
          const x = random(1, batch, channels, height, width);
          const [weight, bias] = [randomValues(2, channels), randomValues(3, channels)];
          const [input, affine] = [bench.tensor(x), bench.affine(weight, bias)];
          const want = groupNorm(x, weight, bias, { ...NORM, groups });
          const allowed = tolerance(channels / groups * height * width, highest(want));
          const run = (silu: boolean) => bench.run(() => bench.ops.groupNorm(input, affine, { ...NORM, groups, silu }));
          assertClose(await run(false), want, allowed, "alone");
          const active = map(want, (i) => silu(want.values[i]!));
          assertClose(await run(true), active, 1.13 * allowed + activationTolerance(highest(want)), "with SiLU");
        });
      }
    },
    { ...AUTO, normalization },
  );
}

/** `[batch, channels, tokens]`. */
const LAYERS: readonly (readonly [number, number, number])[] = [
  [1, 4, 1],
  [1, 8, 7],
  [2, 4, 8],
  [2, 12, 9],
  [1, 32, 77], // tiny-sd1's text encoder.
  [2, 32, 256], // Its UNet, from the highest resolution
  [2, 96, 4], // to the lowest.
  [1, 768, 77], // CLIP.
  [1, 320, 100], // Stable Diffusion 1.4.
  [1, 1280, 3],
  [3, 16, 5],
  [1, 16, 16900], // More tokens than a texture is wide.
];

testBackends("layer normalisation equals the reference", async (bench, t) => {
  for (const [batch, channels, tokens] of LAYERS) {
    await t.step(`${[batch, channels, tokens]}`, async () => {
      const x = random(4, batch, channels, tokens, 1);
      const [weight, bias] = [randomValues(5, channels), randomValues(6, channels)];
      const [input, affine] = [bench.tensor(x), bench.affine(weight, bias)];
      const want = layerNorm(x, weight, bias, NORM);
      const got = await bench.run(() => bench.ops.layerNorm(input, affine, NORM));
      assertClose(got, want, tolerance(channels, highest(want)), "layer norm");
    });
  }
});

const ones = (count: number) => new Float64Array(count).fill(1);
const zeros = (count: number) => new Float64Array(count);

/** How far the values of the next test are from zero, in deviations of a uniform number in -1 to 1. */
const OFFSET = 100 * Math.sqrt(3);

/** Fails unless runs of `count` values that `group` puts together have mean 0 and variance 1. */
function assertNormalised(x: NumberArray, count: number, group: (index: number) => number): void {
  const sums = new Float64Array(x.values.length / count);
  const squares = new Float64Array(sums.length);
  x.values.forEach((value, i) => {
    sums[group(i)]! += value / count;
    squares[group(i)]! += value * value / count;
  });
  const row = (values: Float64Array) => ({ batch: 1, channels: 1, height: 1, width: values.length, values });
  // The mean is off by a share of its size, which is the offset.
  assertClose(row(sums), row(zeros(sums.length)), OFFSET * tolerance(count, 1), "mean");
  assertClose(row(squares), row(ones(sums.length)), 2 * tolerance(count, 2), "variance");
}

testBackends("an unscaled normalisation has mean 0 and variance 1", async (bench) => {
  const x = random(7, 2, 8, 9, 10);
  // In one pass, the variance would be the difference of two numbers 30,000 times as large.
  const far = map(x, (i) => Math.fround(x.values[i]! + 100));
  const [input, affine] = [bench.tensor(far), bench.affine(ones(8), zeros(8))];
  const byGroup = await bench.run(() => bench.ops.groupNorm(input, affine, { groups: 2, epsilon: 0 }));
  assertNormalised(byGroup, 4 * 90, (i) => Math.floor(i / (4 * 90)));
  const byToken = await bench.run(() => bench.ops.layerNorm(input, affine, { epsilon: 0 }));
  assertNormalised(byToken, 8, (i) => Math.floor(i / (8 * 90)) * 90 + i % 90);
});

testBackends("channels that are not whole groups are refused", (bench) => {
  const affine = bench.affine(ones(12), zeros(12));
  const x = bench.tensor(random(8, 1, 12, 2, 2));
  assertThrows(
    () => bench.ops.groupNorm(x, affine, { ...NORM, groups: 5 }),
    RangeError,
    "12 channels cannot be normalised in 5 groups",
  );
  return Promise.resolve();
});
