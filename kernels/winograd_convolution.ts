/**
 * A 3x3 convolution as 36 products of transformed tiles (arXiv 2304.11267 section 3.3).
 * @module
 */
import type { Backend, Epilogue, Launch, Stride, Window } from "./backend.ts";
import type { Layer } from "./layer.ts";
import { planTensor, type Shape } from "./planned.ts";
import { NO_STRIDE } from "./product_batch.ts";
import { channelsOf, pixels, type Tensor } from "./tensor.ts";
import { POINTS, tiles } from "./winograd.ts";

/**
 * Most bytes of transformed inputs and outputs, and of transformed weights, at once: a large convolution runs a strip of
 * its picture, or some of its outputs, after the other. Smaller products are slower (H100, 512 channels at 128x128: 140
 * TFLOP/s in one strip, 101 in three).
 */
const MOST_BYTES = { strip: 160 << 20, weights: 128 << 20 };

/** What every WebGPU adapter can bind in one piece. */
const MOST_BOUND = 128 << 20;

/** See {@link winogradConvolution}. */
export interface WinogradConvolutionSpec extends Epilogue {
  readonly x: Tensor;
  readonly layer: Layer;
  /** The layer's weights, if they are transformed already, see {@link winogradWeights}. */
  readonly points?: Tensor | undefined;
  readonly out: Tensor;
  /** Of stride 1. */
  readonly window: Window;
  /** Default {@link MOST_BYTES}. */
  readonly mostBytes?: { readonly strip: number; readonly weights: number };
}

/** The shape of a layer's transformed weights, `[36 x padded in, padded out]`, or of those of some `outputs`. */
export function weightPoints(layer: Layer, outputs: number = layer.out): Shape {
  return { batch: 1, channels: POINTS * padded(layer.in), height: padded(outputs), width: 1 };
}

function padded(channels: number): number {
  return Math.ceil(channels / 4) * 4;
}

/** Things from `first` on. */
interface Part {
  readonly first: number;
  readonly count: number;
}

/** `count` things in parts of at most `most`; each part but the last a multiple of `unit`, and at least that. */
function parts(count: number, most: number, unit: number): readonly Part[] {
  most = Math.max(unit, Math.floor(most / unit) * unit);
  // As even as can be: a small last part keeps a GPU waiting.
  const size = Math.ceil(count / Math.ceil(count / most) / unit) * unit;
  return Array.from({ length: Math.ceil(count / size) }, (_, i) => {
    const first = i * size;
    return { first, count: Math.min(size, count - first) };
  });
}

/**
 * The launches of a convolution: its tiles transformed, a product for each of their 36 points, and back. Without
 * {@link WinogradConvolutionSpec.points} the weights are transformed each time.
 */
export function winogradConvolution(backend: Backend, spec: WinogradConvolutionSpec): readonly Launch[] {
  const { x, layer, out, mostBytes = MOST_BYTES } = spec;
  const plan = (shape: Shape, label: string) => planTensor(backend, shape, label, { exact: true });
  const width = tiles(out.width);
  const perRow = (channels: number) => 4 * POINTS * x.batch * width * padded(channels);
  const rows = Math.min(
    mostBytes.strip / (perRow(layer.in) + perRow(layer.out)),
    MOST_BOUND / perRow(Math.max(layer.in, layer.out)),
  );
  const strips = parts(tiles(out.height), rows, 1);
  const perOutput = 4 * weightPoints(layer, 4).channels;
  const shares = spec.points ? [{ first: 0, count: layer.out }] : parts(layer.out, mostBytes.weights / perOutput, 64);
  const strip = (height: number, channels: number, label: string) =>
    plan({ batch: x.batch, channels: POINTS * padded(channels), height, width }, label);

  const launches: Launch[] = [];
  let input: Tensor | undefined;
  for (const share of shares) {
    const points = spec.points ?? plan(weightPoints(layer, share.count), "winograd weights");
    if (!spec.points) launches.push(backend.winogradWeights(layer.weights, points, share.first));
    for (const { first: firstRow, count } of strips) {
      if (!input || strips.length > 1) {
        input = strip(count, layer.in, "winograd input");
        launches.push(backend.winogradInput({ x, points: input, window: spec.window, firstRow }));
      }
      const products = strip(count, share.count, "winograd products");
      launches.push(
        ...multiply(backend, { points, input, products, in: layer.in, out: share.count }),
        backend.winogradOutput({ ...outputsOf(spec, share), points: products, firstRow }),
      );
    }
  }
  return launches;
}

/** The products of all points. */
function multiply(
  backend: Backend,
  { points, input, products, in: inputs, out }: {
    readonly points: Tensor;
    readonly input: Tensor;
    readonly products: Tensor;
    readonly in: number;
    readonly out: number;
  },
): readonly Launch[] {
  const perPoint = (rows: number): readonly [Stride, Stride] => [NO_STRIDE, { rows, columns: 0 }];
  return backend.product({
    a: points,
    b: input,
    out: products,
    m: out,
    n: input.batch * backend.sampleColumns(pixels(input)),
    k: inputs,
    batch: {
      outer: 1,
      inner: POINTS,
      a: perPoint(padded(inputs)),
      b: perPoint(padded(inputs)),
      out: perPoint(padded(out)),
    },
  });
}

/** The epilogue and output of some of the outputs. */
function outputsOf(
  { out, bias, plus, ...rest }: WinogradConvolutionSpec,
  { first, count }: Part,
): Epilogue & { readonly out: Tensor } {
  const some = (x: Tensor) => channelsOf(x, first, count);
  const { step, activation, plusFirst } = rest;
  return {
    out: some(out),
    ...(bias && { bias: some(bias) }),
    ...(plus && { plus: some(plus) }),
    ...(step && { step }),
    ...(activation && { activation }),
    ...(plusFirst && { plusFirst }),
  };
}
