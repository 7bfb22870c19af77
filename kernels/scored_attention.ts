/**
 * Attention with its scores in memory: a product, a softmax and another product.
 * @module
 */
import type { AttentionSpec, Family, Launch, ProductSpec, Stride } from "./family.ts";
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
export function scoredAttention(family: Family, spec: ScoredAttentionSpec): readonly Launch[] {
  const { q, k, v, out, heads, causal } = spec;
  const width = q.channels / heads;
  const [queries, keys] = [pixels(q), pixels(k)];
  const paddedKeys = Math.ceil(keys / 4) * 4;
  const count = q.batch * heads;
  const matrix = (rows: number, columns: number, label: string, exact = false): Tensor =>
    planTensor(family, { batch: 1, channels: rows, height: columns, width: 1 }, label, { exact });
  const batch = { outer: q.batch, inner: heads };
  const perSample = (pixels: number): Stride => ({ rows: 0, columns: family.sampleColumns(pixels) });
  const perHead: Stride = { rows: width, columns: 0 };
  const perScores: readonly [Stride, Stride] = [{ rows: heads * paddedKeys, columns: 0 }, {
    rows: paddedKeys,
    columns: 0,
  }];

  const scores = matrix(count * paddedKeys, queries, "scores", true);
  const scoring = family.product({
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
    family.product({
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
    const reduction = family.softmaxRows({ ...softmax, out: rows });
    return [...scoring, reduction, family.transpose(v, turned), ...weighing({ b: scores, softmax: { rows, scale } })];
  }
  const probabilities = matrix(count * paddedKeys, queries, "probabilities");
  const softmaxes = family.softmax({ ...softmax, out: probabilities });
  return [...scoring, softmaxes, family.transpose(v, turned), ...weighing({ b: probabilities })];
}
