/**
 * Attention with its scores in memory: a product, a softmax and another product.
 * @module
 */
import type { AttentionSpec, Backend, Launch, ProductSpec, Stride } from "./backend.ts";
import { planTensor } from "./planned.ts";
import { pixels, type Tensor } from "./tensor.ts";

/** See {@link scoredAttention}. */
export interface ScoredAttentionSpec extends AttentionSpec {
  /** Whether query `q` sees only keys up to `q`. */
  readonly causal: boolean;
  /**
   * Partially fused softmax (arXiv 2304.11267 section 3.2.1): only the maximum and the sum of every query are stored,
   * and the product with the values exponentiates the scores it reads. Causal attention is not fused.
   */
  readonly fused: boolean;
}

/** The launches of an attention whose scores are `[batch x heads x keys, queries]`, keys padded to a multiple of 4. */
export function scoredAttention(backend: Backend, spec: ScoredAttentionSpec): readonly Launch[] {
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
  const scoring = backend.product({
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
    backend.product({
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
    return [...scoring, reduction, backend.transpose(v, turned), ...weighing({ b: scores, softmax: { rows, scale } })];
  }
  const probabilities = matrix(count * paddedKeys, queries, "probabilities");
  const softmaxes = backend.softmax({ ...softmax, out: probabilities });
  return [...scoring, softmaxes, backend.transpose(v, turned), ...weighing({ b: probabilities })];
}
