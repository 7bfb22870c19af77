/**
 * Convolution as its definition says; a linear layer is the 1x1 case.
 * @module
 */
import { at, type NumberArray, zeros } from "./array.ts";

/** Weights `[out, in, size, size]` and how they move. */
export interface ConvolutionParts {
  readonly weights: ArrayLike<number>;
  readonly bias?: ArrayLike<number>;
  readonly out: number;
  readonly size: number;
  readonly stride?: number;
  readonly pad?: number;
  readonly padEnd?: number;
  readonly upsample?: number;
  readonly image?: readonly [height: number, width: number];
}

/** `y[b, o, i, j] = bias[o] + sum over c, s, t of w[o, c, s, t] x[b, c, i stride + s - pad, j stride + t - pad]`. */
export function convolution(x: NumberArray, parts: ConvolutionParts): NumberArray {
  const { weights, bias, out, size, stride = 1, pad = size >> 1, upsample = 1 } = parts;
  const [imageHeight, imageWidth] = parts.image ?? [x.height * upsample, x.width * upsample];
  const extent = (image: number) => Math.floor((image + pad + (parts.padEnd ?? pad) - size) / stride) + 1;
  const y = zeros(x.batch, out, extent(imageHeight), extent(imageWidth));
  const tap = (b: number, c: number, row: number, column: number) =>
    row < 0 || column < 0 || row >= imageHeight || column >= imageWidth
      ? 0
      : x.values[at(x, b, c, Math.floor(row / upsample), Math.floor(column / upsample))]!;
  for (let b = 0; b < x.batch; b++) {
    for (let o = 0; o < out; o++) {
      for (let i = 0; i < y.height; i++) {
        for (let j = 0; j < y.width; j++) {
          let sum = bias?.[o] ?? 0;
          for (let c = 0; c < x.channels; c++) {
            for (let s = 0; s < size; s++) {
              for (let t = 0; t < size; t++) {
                const weight = weights[((o * x.channels + c) * size + s) * size + t]!;
                sum += weight * tap(b, c, i * stride + s - pad, j * stride + t - pad);
              }
            }
          }
          y.values[at(y, b, o, i, j)] = sum;
        }
      }
    }
  }
  return y;
}
