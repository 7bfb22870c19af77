import { planTensor } from "../../kernels/backend.ts";
import { softmax } from "../../kernels/reference/attention.ts";
import { map, type NumberArray, zeros } from "../../kernels/reference/array.ts";
import { assertClose, type Bench, dotTolerance, EPSILON, random, testBackends } from "./harness.ts";
import type { Tensor } from "../../kernels/tensor.ts";

/** Softmaxes one above the other, each `[keys, queries]` with the keys padded to a multiple of four. */
interface Case {
  readonly count: number;
  readonly keys: number;
  readonly queries: number;
  readonly causal?: boolean;
}

const CASES: readonly Case[] = [
  { count: 1, keys: 1, queries: 1 },
  { count: 1, keys: 2, queries: 7 },
  { count: 2, keys: 3, queries: 8 },
  { count: 1, keys: 4, queries: 9 },
  { count: 3, keys: 5, queries: 1 },
  { count: 2, keys: 17, queries: 13 },
  { count: 2, keys: 77, queries: 64 },
  { count: 1, keys: 256, queries: 256 },
  { count: 1, keys: 1030, queries: 3 },
  { count: 8, keys: 77, queries: 77, causal: true },
  { count: 2, keys: 5, queries: 5, causal: true },
  { count: 1, keys: 1, queries: 3, causal: true },
];

const SCALE = 3;

function paddedKeys({ keys }: Case): number {
  return Math.ceil(keys / 4) * 4;
}

/** Scores, those of pad keys so high that one of them would win. */
function randomScores(shape: Case): NumberArray {
  const x = random(1, 1, shape.count * paddedKeys(shape), shape.queries, 1);
  return map(x, (i) => keyOf(shape, i) < shape.keys ? x.values[i]! : 100);
}

function keyOf(shape: Case, index: number): number {
  return Math.floor(index / shape.queries) % paddedKeys(shape);
}

/** Calls `column` with the visible scores, scaled, of each query, and writes what it returns from the first key on. */
function byQuery(shape: Case, scores: NumberArray, column: (scores: Float64Array) => ArrayLike<number>): NumberArray {
  const out = map(scores, () => 0);
  const padded = paddedKeys(shape);
  for (let i = 0; i < shape.count * shape.queries; i++) {
    const [matrix, query] = [Math.floor(i / shape.queries), i % shape.queries];
    const keys = shape.causal ? Math.min(shape.keys, query + 1) : shape.keys;
    const at = (key: number) => (matrix * padded + key) * shape.queries + query;
    const result = column(Float64Array.from({ length: keys }, (_, key) => SCALE * scores.values[at(key)]!));
    for (let key = 0; key < result.length; key++) out.values[at(key)] = result[key]!;
  }
  return out;
}

/** `exp` is exact to 3 + 2|x| units in the last place, here of numbers up to 1; the sum of all divides it. */
function tolerance({ keys }: Case): number {
  return 2 * EPSILON * (3 + 4 * SCALE) + 4 * EPSILON * Math.sqrt(keys);
}

function launchSoftmax(bench: Bench, shape: Case, name: "softmax" | "softmaxRows", scores: Tensor): Tensor {
  const { ops } = bench;
  const channels = name === "softmax" ? scores.channels : 4 * shape.count;
  const out = planTensor(ops.backend, { ...scores, channels }, name);
  ops.launch(ops.backend[name]({ causal: false, ...shape, scores, out, paddedKeys: paddedKeys(shape), scale: SCALE }));
  return out;
}

testBackends("softmax equals the reference", async (bench, t) => {
  for (const shape of CASES) {
    await t.step(JSON.stringify(shape), async () => {
      const scores = randomScores(shape);
      const input = bench.tensor(scores);
      const got = await bench.run(() => launchSoftmax(bench, shape, "softmax", input));
      assertClose(got, byQuery(shape, scores, softmax), tolerance(shape), "softmax");
    });
  }
});

testBackends("a softmax sums to one", async (bench) => {
  for (const shape of CASES) {
    const input = bench.tensor(randomScores(shape));
    const got = await bench.run(() => launchSoftmax(bench, shape, "softmax", input));
    const sums = zeros(1, shape.count, shape.queries, 1);
    got.values.forEach((value, i) => {
      const matrix = Math.floor(i / shape.queries / paddedKeys(shape));
      sums.values[matrix * shape.queries + i % shape.queries]! += value;
    });
    // Errors of `exp` are in the sum as well and cancel: what is left are the roundings.
    assertClose(sums, map(sums, () => 1), 4 * EPSILON * Math.sqrt(shape.keys), JSON.stringify(shape));
  }
});

testBackends("softmax rows are the maximum and the sum", async (bench, t) => {
  for (const shape of CASES.filter(({ causal }) => !causal)) {
    await t.step(JSON.stringify(shape), async () => {
      const scores = randomScores(shape);
      const input = bench.tensor(scores);
      const got = await bench.run(() => launchSoftmax(bench, shape, "softmaxRows", input));
      const want = byQuery(shape, scores, (column) => {
        const top = Math.max(...column);
        return [top, column.reduce((sum, score) => sum + Math.exp(score - top), 0)];
      });
      const rows = (x: NumberArray, stride: number, row: number) =>
        map(
          zeros(1, shape.count, shape.queries, 1),
          (i) => x.values[(Math.floor(i / shape.queries) * stride + row) * shape.queries + i % shape.queries]!,
        );
      const top = (x: NumberArray, stride: number) => rows(x, stride, 0);
      const sum = (x: NumberArray, stride: number) => rows(x, stride, 1);
      const stride = paddedKeys(shape);
      assertClose(top(got, 4), top(want, stride), SCALE * EPSILON, "maximum");
      assertClose(sum(got, 4), sum(want, stride), shape.keys * tolerance(shape), "sum");
    });
  }
});

testBackends("a product with raw scores and softmax rows is one with probabilities", async (bench, t) => {
  for (const shape of CASES.filter(({ causal }) => !causal)) {
    const { count, keys, queries } = shape;
    await t.step(JSON.stringify(shape), async () => {
      const padded = paddedKeys(shape);
      const width = 8;
      const scores = randomScores(shape);
      const values = random(2, 1, count * padded, width, 1);
      const probabilities = byQuery(shape, scores, softmax);
      const want = map(zeros(1, count * width, queries, 1), (i) => {
        const [matrix, m, n] = [Math.floor(i / queries / width), Math.floor(i / queries) % width, i % queries];
        let sum = 0;
        for (let key = 0; key < keys; key++) {
          const row = matrix * padded + key;
          sum += values.values[row * width + m]! * probabilities.values[row * queries + n]!;
        }
        return sum;
      });
      const [a, b] = [bench.tensor(values), bench.tensor(scores)];
      const got = await bench.run(() => {
        const rows = launchSoftmax(bench, shape, "softmaxRows", b);
        const out = planTensor(bench.ops.backend, { ...b, channels: count * width }, "product");
        const none = { rows: 0, columns: 0 };
        const [perKeys, perWidth] = [{ rows: padded, columns: 0 }, { rows: width, columns: 0 }];
        const [product] = bench.ops.backend.product({
          a,
          b,
          out,
          m: width,
          n: queries,
          k: keys,
          batch: { outer: 1, inner: count, a: [none, perKeys], b: [none, perKeys], out: [none, perWidth] },
          softmax: { rows, scale: SCALE },
        });
        bench.ops.launch(...product!.launches());
        return out;
      });
      // A mean of values up to 1 is as wrong as its weights, and as a dot product.
      assertClose(got, want, 2 * tolerance(shape) + dotTolerance(keys) / keys, "product");
    });
  }
});
