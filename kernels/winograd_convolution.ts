/**
 * A 3x3 convolution as 36 products of transformed tiles (arXiv 2304.11267 section 3.3).
 * @module
 */
import type { Epilogue, Family, Launch, Stride, Window } from "./family.ts";
import type { Layer } from "./layer.ts";
import { planTensor } from "./planned.ts";
import { NO_STRIDE } from "./product_batch.ts";
import { pixels, type Tensor } from "./tensor.ts";
import { POINTS, tiles } from "./winograd.ts";

/** See {@link winogradConvolution}. */
export interface WinogradConvolutionSpec extends Epilogue {
  readonly x: Tensor;
  readonly layer: Layer;
  /** The layer's weights, transformed: `[36 x padded in, padded out]`. */
  readonly points: Tensor;
  readonly out: Tensor;
  /** Of stride 1. */
  readonly window: Window;
}

/** The launches of a convolution: its tiles transformed, a product for each of their 36 points, and back. */
export function winogradConvolution(family: Family, spec: WinogradConvolutionSpec): readonly Launch[] {
  const { x, layer, points, out, window, ...epilogue } = spec;
  const [inputs, outputs] = [layer.in, layer.out].map((channels) => Math.ceil(channels / 4) * 4) as [number, number];
  const tiled = { batch: x.batch, height: tiles(out.height), width: tiles(out.width) };
  const input = planTensor(family, { ...tiled, channels: POINTS * inputs }, "winograd input");
  const products = planTensor(family, { ...tiled, channels: POINTS * outputs }, "winograd products");
  const perPoint = (rows: number): readonly [Stride, Stride] => [NO_STRIDE, { rows, columns: 0 }];
  return [
    family.winogradInput({ x, points: input, window }),
    ...family.product({
      a: points,
      b: input,
      out: products,
      m: layer.out,
      n: x.batch * family.sampleColumns(pixels(input)),
      k: layer.in,
      batch: { outer: 1, inner: POINTS, a: perPoint(inputs), b: perPoint(inputs), out: perPoint(outputs) },
    }),
    family.winogradOutput({ points: products, out, ...epilogue }),
  ];
}
