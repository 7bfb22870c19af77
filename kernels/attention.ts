/**
 * Attention: the ways to compute it, without its scores in memory and with them.
 * @module
 */
import { type AttentionSpec, type Backend, planTensor, type ProductSpec, type Stride } from "./backend.ts";
import { transpose } from "./elementwise.ts";
import type { Launch, Way } from "./launch.ts";
import type { Optimizations } from "./optimizations.ts";
import { MOST_BOUND, parts } from "./parts.ts";
import { channelsOf, pixels, type Tensor } from "./tensor.ts";

export interface ScoredAttentionSpec extends AttentionSpec {
  /** Whether query `q` sees only keys up to `q`. */
  readonly causal: boolean;
  /**
   * Partially fused softmax (arXiv 2304.11267 section 3.2.1): only the maximum and the sum of every query are stored,
   * and the product with the values exponentiates the scores it reads. Causal attention is not fused.
   */
  readonly fused: boolean;
}

/** The ways to attend, those that the rules choose first. */
export function attentionWays(
  backend: Backend,
  on: Optimizations,
  spec: AttentionSpec & { readonly causal: boolean },
): readonly Way[] {
  const scored = (fused: boolean) => () => scoredAttention(backend, { ...spec, fused });
  const stored: Way = { kernels: "stored softmax", launches: scored(false) };
  if (spec.causal) return [stored];
  const fused: Way = { kernels: "partially fused softmax", launches: scored(true) };
  const shape = { width: spec.q.channels / spec.heads, queries: pixels(spec.q), keys: pixels(spec.k) };
  const flash = on.flash ? backend.flashAttention(spec) : [];
  const others = !on.softmax ? [stored] : softmaxFuses(on, backend, shape) ? [fused, stored] : [stored, fused];
  return flashRuns(on, shape) ? [...flash, ...others] : [...others, ...flash];
}

export interface AttentionShape {
  readonly width: number;
  readonly queries: number;
  readonly keys: number;
}

/** Whether attention runs without scores in memory. */
export function flashRuns(on: Optimizations, { width, queries, keys }: AttentionShape): boolean {
  if (!on.flash || on.shapes === "all") return on.flash;
  if (on.shapes === "paper") return width <= 40 && queries >= 1024;
  // For a few tokens it is not worth its shader: one for each head width, and the largest of all to compile. On llvmpipe
  // heads of 40 take 1.1 s to compile, and save 0.3 ms where 64 queries meet 64 keys.
  return queries * keys >= 1 << 13;
}

/** Whether scores in memory are exponentiated inside the product with the values, not stored as probabilities. */
export function softmaxFuses(on: Optimizations, backend: Backend, { width, queries, keys }: AttentionShape): boolean {
  if (!on.softmax || on.shapes !== "measured") return on.softmax;
  return queries * keys >= 1 << 16 && width <= backend.widestFusedSoftmax;
}

/** The launches of an attention with its scores in memory, for as many heads at once as every adapter can bind. */
export function scoredAttention(
  backend: Backend,
  spec: ScoredAttentionSpec,
  mostBytes = MOST_BOUND,
): readonly Launch[] {
  const { q, k, v, out, heads } = spec;
  const width = q.channels / heads;
  const perHead = 4 * q.batch * pixels(q) * Math.ceil(pixels(k) / 4) * 4;
  // A view begins at a multiple of four channels.
  return parts(heads, mostBytes / perHead, width % 4 === 0 ? 1 : 4).flatMap(({ first, count }) => {
    const some = (x: Tensor) => channelsOf(x, first * width, count * width);
    return attendHeads(backend, { ...spec, q: some(q), k: some(k), v: some(v), out: some(out), heads: count });
  });
}

/** All heads at once: scores are `[batch x heads x keys, queries]`, keys padded to a multiple of 4. */
function attendHeads(backend: Backend, spec: ScoredAttentionSpec): readonly Launch[] {
  const { q, k, v, out, heads, causal } = spec;
  const width = q.channels / heads;
  const [queries, keys] = [pixels(q), pixels(k)];
  const paddedKeys = Math.ceil(keys / 4) * 4;
  const count = q.batch * heads;
  const matrix = (rows: number, columns: number, label: string, exact = false): Tensor =>
    planTensor(backend, { batch: 1, channels: rows, height: columns, width: 1 }, label, { exact });
  const batch = { outer: q.batch, inner: heads };
  const perSample = (pixels: number): Stride => ({ rows: 0, columns: backend.sampleColumns(pixels) });
  const perHead: Stride = { rows: width, columns: 0 };
  const perScores: readonly [Stride, Stride] = [{ rows: heads * paddedKeys, columns: 0 }, {
    rows: paddedKeys,
    columns: 0,
  }];

  const scores = matrix(count * paddedKeys, queries, "scores", true);
  const product = (spec: ProductSpec) => backend.product(spec)[0]!.launches();
  const scoring = product({
    a: k,
    b: q,
    out: scores,
    m: keys,
    n: queries,
    k: width,
    batch: { ...batch, a: [perSample(keys), perHead], b: [perSample(queries), perHead], out: perScores },
  });
  const turned = matrix(q.batch * paddedKeys, v.channels, "v, transposed");
  const weighing = (b: Pick<ProductSpec, "b" | "softmax">): readonly Launch[] =>
    product({
      a: turned,
      ...b,
      out,
      m: width,
      n: queries,
      k: keys,
      batch: {
        ...batch,
        a: [{ rows: paddedKeys, columns: 0 }, { rows: 0, columns: width }],
        b: perScores,
        out: [perSample(queries), perHead],
      },
    });
  const scale = 1 / Math.sqrt(width);
  const softmax = { scores, count, keys, paddedKeys, scale, causal };
  if (spec.fused && !causal) {
    const rows = matrix(4 * count, queries, "maxima and sums", true);
    const reduction = backend.softmaxRows({ ...softmax, out: rows });
    return [...scoring, reduction, transpose(backend, v, turned), ...weighing({ b: scores, softmax: { rows, scale } })];
  }
  const probabilities = matrix(count * paddedKeys, queries, "probabilities");
  const softmaxes = backend.softmax({ ...softmax, out: probabilities });
  return [...scoring, softmaxes, transpose(backend, v, turned), ...weighing({ b: probabilities })];
}
