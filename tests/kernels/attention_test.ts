import { BASELINE, type Optimizations } from "../../kernels/optimizations.ts";
import type { NumberArray } from "../../kernels/reference/array.ts";
import { attention } from "../../kernels/reference/attention.ts";
import { channelsOf } from "../../kernels/tensor.ts";
import { assertClose, type Bench, dotTolerance, EPSILON, random, testBackends } from "./harness.ts";

interface Case {
  readonly batch: number;
  readonly heads: number;
  readonly width: number;
  readonly queries: number;
  readonly keys: number;
  readonly causal?: boolean;
}

/** The ways to compute attention, on every shape; heads that are too wide for the first take another. */
const WAYS: Readonly<Record<string, Optimizations>> = {
  flash: { ...BASELINE, flash: true, shapes: "all" },
  "partially fused softmax": { ...BASELINE, softmax: true },
  "stored softmax": BASELINE,
};

const CASES: readonly Case[] = [
  { batch: 1, heads: 1, width: 8, queries: 1, keys: 1 },
  { batch: 1, heads: 2, width: 8, queries: 5, keys: 3 },
  { batch: 2, heads: 3, width: 8, queries: 33, keys: 9 }, // A tail in every direction.
  { batch: 2, heads: 4, width: 8, queries: 256, keys: 77 }, // tiny-sd1 and its context.
  { batch: 2, heads: 2, width: 24, queries: 4, keys: 32 }, // The emoji model's context.
  { batch: 1, heads: 2, width: 40, queries: 64, keys: 64 }, // Stable Diffusion 1.4, from the highest resolution
  { batch: 2, heads: 1, width: 80, queries: 20, keys: 77 }, // to the lowest.
  { batch: 1, heads: 2, width: 160, queries: 64, keys: 64 },
  { batch: 2, heads: 2, width: 40, queries: 64, keys: 154 }, // Prompts of two and of three chunks.
  { batch: 2, heads: 1, width: 80, queries: 20, keys: 231 },
  { batch: 1, heads: 1, width: 512, queries: 17, keys: 17 }, // The middle of the VAE.
  { batch: 2, heads: 4, width: 8, queries: 77, keys: 77, causal: true }, // tiny-sd1's text encoder.
  { batch: 1, heads: 3, width: 64, queries: 77, keys: 77, causal: true }, // CLIP.
  { batch: 1, heads: 2, width: 12, queries: 32, keys: 32, causal: true },
];

/**
 * Values up to 1 weighted by numbers that sum to 1. Scores are off by a dot product's error, which changes a weight by
 * as much and the sum of all by as much again; `exp` of scores up to `most` adds 3 + 2|x| units in the last place.
 */
function tolerance({ width, keys }: Case, most = Math.sqrt(width) / 3 * 4): number {
  const scores = dotTolerance(width) / Math.sqrt(width);
  return 2 * (scores + 2 * EPSILON * (3 + 2 * most)) + 4 * EPSILON * Math.sqrt(keys);
}

function inputs({ batch, heads, width, queries, keys }: Case): readonly [NumberArray, NumberArray, NumberArray] {
  const [q, k, v] = [queries, keys, keys].map((tokens, i) => random(i, batch, heads * width, tokens, 1));
  return [q!, k!, v!];
}

async function run(bench: Bench, arrays: readonly NumberArray[], options: { heads: number; causal?: boolean }) {
  const [q, k, v] = arrays.map(bench.tensor);
  return await bench.run(() => bench.ops.attention(q!, k!, v!, options));
}

for (const [way, on] of Object.entries(WAYS)) {
  testBackends(`${way}: attention equals the reference`, async (bench, t) => {
    // Causal attention is always computed in the last way.
    for (const shape of CASES.filter(({ causal }) => !causal || on === BASELINE)) {
      const { heads, causal = false } = shape;
      await t.step(JSON.stringify(shape), async () => {
        const [q, k, v] = inputs(shape);
        const want = attention(q, k, v, { heads, causal });
        assertClose(await run(bench, [q, k, v], { heads, causal }), want, tolerance(shape), "attention");
      });
    }
  }, on);

  testBackends(`${way}: attention to large scores stays finite`, async (bench) => {
    const shape = { batch: 1, heads: 1, width: 8, queries: 9, keys: 11 };
    const [q, k, v] = inputs(shape);
    // Unless the maximum is taken off, exp of a score above 88 is infinite.
    const [large, huge] = [q, k].map((x) => ({ ...x, values: x.values.map((value) => 32 * value) })) as [
      NumberArray,
      NumberArray,
    ];
    const want = attention(large, huge, v, { heads: 1 });
    const most = 32 * 32 * 8 / Math.sqrt(8);
    const got = await run(bench, [large, huge, v], { heads: 1 });
    assertClose(got, want, 32 * 32 * tolerance(shape, most), "attention");
  }, on);

  testBackends(`${way}: attention reads the channels it is given`, async (bench) => {
    const qkv = random(4, 2, 3 * 16, 10, 1);
    const [q, k, v] = [0, 1, 2].map((part) => ({
      ...qkv,
      channels: 16,
      values: qkv.values.filter((_, i) => Math.floor(i / 10 / 16) % 3 === part),
    })) as [NumberArray, NumberArray, NumberArray];
    const all = bench.tensor(qkv);
    for (const causal of [false, true]) {
      const got = await bench.run(() =>
        bench.ops.attention(channelsOf(all, 0, 16), channelsOf(all, 16, 16), channelsOf(all, 32, 16), {
          heads: 2,
          causal,
        })
      );
      const allowed = tolerance({ batch: 2, heads: 2, width: 8, queries: 10, keys: 10 });
      assertClose(got, attention(q, k, v, { heads: 2, causal }), allowed, causal ? "causal" : "all keys");
    }
  }, on);

  testBackends(`${way}: attention to one key returns its value`, async (bench) => {
    for (const width of [8, 160]) {
      const [q, k, v] = inputs({ batch: 2, heads: 2, width, queries: 5, keys: 1 });
      const want = { ...q, values: q.values.map((_, i) => v.values[Math.floor(i / 5)]!) };
      assertClose(await run(bench, [q, k, v], { heads: 2 }), want, EPSILON, `heads of ${width}`);
    }
  }, on);
}

testBackends("the first query of causal attention sees the first key alone", async (bench) => {
  const [q, k, v] = inputs({ batch: 1, heads: 2, width: 8, queries: 6, keys: 6 });
  const got = await run(bench, [q, k, v], { heads: 2, causal: true });
  const first = (x: NumberArray) => ({ ...x, height: 1, values: x.values.filter((_, i) => i % 6 === 0) });
  assertClose(first(got), first(v), EPSILON, "first query");
});
