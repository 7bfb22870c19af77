/**
 * Scaled dot-product attention as its definition says (arXiv 1706.03762, equation 1).
 * @module
 */
import { map, type NumberArray, zeros } from "./array.ts";

/** `softmax(q^T k / sqrt(width)) v` for each head; channels are heads x width, tokens are height x width. */
export function attention(
  q: NumberArray,
  k: NumberArray,
  v: NumberArray,
  options: { readonly heads: number; readonly causal?: boolean },
): NumberArray {
  const width = q.channels / options.heads;
  const queries = q.height * q.width;
  const keys = k.height * k.width;
  const out = zeros(q.batch, q.channels, q.height, q.width);
  for (let b = 0; b < q.batch; b++) {
    for (let head = 0; head < options.heads; head++) {
      const channel = (c: number) => b * q.channels + head * width + c;
      for (let i = 0; i < queries; i++) {
        const scores = new Float64Array(options.causal ? Math.min(keys, i + 1) : keys).map((_, j) => {
          let sum = 0;
          for (let c = 0; c < width; c++) {
            sum += q.values[channel(c) * queries + i]! * k.values[channel(c) * keys + j]!;
          }
          return sum / Math.sqrt(width);
        });
        const probabilities = softmax(scores);
        for (let c = 0; c < width; c++) {
          out.values[channel(c) * queries + i] = probabilities.reduce(
            (sum, p, j) => sum + p * v.values[channel(c) * keys + j]!,
            0,
          );
        }
      }
    }
  }
  return out;
}

/** `exp(x_i) / sum_j exp(x_j)`. */
export function softmax(x: Float64Array): Float64Array {
  const top = Math.max(...x);
  const powers = x.map((value) => Math.exp(value - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}

/** Channels and tokens change places: `[b, c, n]` to `[1, b x padded(n), c]`, padded to a multiple of four with zeros. */
export function transpose(x: NumberArray): NumberArray {
  const tokens = x.height * x.width;
  const padded = Math.ceil(tokens / 4) * 4;
  return map(zeros(1, x.batch * padded, x.channels, 1), (index) => {
    const channel = index % x.channels;
    const row = Math.floor(index / x.channels);
    const token = row % padded;
    return token < tokens ? x.values[(Math.floor(row / padded) * x.channels + channel) * tokens + token]! : 0;
  });
}
