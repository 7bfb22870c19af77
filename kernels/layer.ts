/**
 * Linear layers and convolutions: what may be asked of them, and the ways to compute them.
 * @module
 */
import {
  type Activation,
  type Backend,
  type Epilogue,
  NO_STRIDE,
  planTensor,
  type ProductSpec,
  type Shape,
  type Stride,
  type Window,
  type Winograd,
  type WinogradShape,
} from "./backend.ts";
import { separateGeglu } from "./baseline.ts";
import type { Launch, Way } from "./launch.ts";
import type { Optimizations } from "./optimizations.ts";
import { MOST_BOUND, type Part, parts } from "./parts.ts";
import { channelsOf, columns, isHalf, type Memory, pixels, type Tensor } from "./tensor.ts";
import { tiles } from "./winograd.ts";

/** A linear layer or convolution, packed. */
export interface Layer {
  /** `[taps x in, out]`. */
  readonly weights: Tensor;
  /** `[out, 1]`. */
  readonly bias?: Tensor;
  readonly in: number;
  readonly out: number;
  /** Taps along one side of the window: 1 or 3. */
  readonly window: number;
}

/** Weights and biases of a normalisation, `[channels, 2]`. */
export type Affine = Tensor;

/** A bias that changes from step to step, and the running step. */
export interface StepBias {
  /** `[1, out, steps]`, or `[batch, out, steps]` where each sample has its own. */
  readonly values: Tensor;
  readonly step: Memory;
}

export interface ProductOptions {
  readonly plus?: Tensor;
  /** Whether `plus` is added before the activation instead; default no. */
  readonly plusFirst?: boolean;
  readonly activation?: Activation;
  /** Takes the place of the layer's own bias. */
  readonly stepBias?: StepBias;
  /** Whether the result is float32 even where activations are stored as float16; default no. */
  readonly exact?: boolean;
}

/** How a 3x3 convolution moves over its input. */
export interface ConvolutionOptions extends ProductOptions {
  readonly stride?: number;
  /** Zero pixels on the left and top; by default what keeps the size at stride 1. */
  readonly pad?: number;
  /** Nearest-neighbour upsampling before the convolution. */
  readonly upsample?: number;
  /** Size of the upsampled image, when it is not `upsample` times the input's. */
  readonly image?: readonly [height: number, width: number];
  /** Zero pixels on the right and bottom; by default as many as on the left and top. */
  readonly padEnd?: number;
}

export interface LayerSpec extends Epilogue {
  readonly x: Tensor;
  readonly layer: Layer;
  readonly out: Tensor;
  readonly window?: Window;
}

/**
 * The ways to compute a layer, those that the rules choose first: products, and Winograd's where they can run; `points`
 * returns the layer's transformed weights if there is memory for them.
 */
export function layerWays(
  backend: Backend,
  on: Optimizations,
  spec: LayerSpec,
  points: (winograd: Winograd) => Tensor | undefined,
): readonly Way[] {
  const { x, layer, out, window, activation } = spec;
  const product: ProductSpec = { ...spec, a: layer.weights, b: x, m: out.channels, n: columns(out), k: layer.in };
  const products = backend.product(product);
  if (activation === "geglu") {
    const separate = { kernels: "separate GEGLU", launches: () => separateGeglu(backend, product) };
    return on.gelu ? [...products, separate] : [separate];
  }
  if (!on.winograd || window?.size !== 3 || window.stride !== 1) return products;
  const half = [x, layer.weights].every(isHalf);
  const shape = {
    batch: x.batch,
    in: layer.in,
    out: layer.out,
    outputHeight: out.height,
    outputWidth: out.width,
    half,
  };
  const fitting = backend.winograds.filter((winograd) => winograd.fits(shape));
  const considered = on.shapes === "measured" ? fitting : fitting.slice(0, 1);
  const best = considered.find((winograd) => winogradRuns(on, winograd, shape));
  const wayOf = (winograd: Winograd): Way => ({
    kernels: winograd.name,
    launches: () => winogradConvolution(backend, winograd, { ...spec, window, points: points(winograd) }),
  });
  const others = fitting.filter((winograd) => winograd !== best).map(wayOf);
  return [...best ? [wayOf(best)] : [], ...products, ...others];
}

function winogradRuns(on: Optimizations, { filtering, pays }: Winograd, shape: WinogradShape): boolean {
  if (on.shapes === "all") return true;
  const channels = Math.min(shape.in, shape.out);
  const count = tiles(filtering, shape.outputHeight) * tiles(filtering, shape.outputWidth);
  if (on.shapes === "paper") return channels >= 64 && count >= 32;
  return pays({ channels, tiles: shape.batch * count });
}

/**
 * Most bytes of transformed inputs and outputs, and of transformed weights, at once: a large convolution works on one
 * strip of its image, or on some of its outputs, at a time. Smaller products are slower (H100, 512 channels at 128x128:
 * 140 TFLOP/s in one strip, 101 in three).
 */
const MOST_BYTES = { strip: 160 << 20, weights: 128 << 20 };

export interface WinogradConvolutionSpec extends LayerSpec {
  readonly window: Window;
  /** The layer's weights, if they are transformed already. */
  readonly points?: Tensor | undefined;
  readonly mostBytes?: { readonly strip: number; readonly weights: number };
}

/** The shape of a layer's transformed weights, `[points x padded in, padded out]`, or of those of some `outputs`. */
export function weightPoints({ filtering }: Winograd, layer: Layer, outputs: number = layer.out): Shape {
  return { batch: 1, channels: filtering.points * padded(layer.in), height: padded(outputs), width: 1 };
}

function padded(channels: number): number {
  return Math.ceil(channels / 4) * 4;
}

/**
 * A 3x3 convolution as 36 products of transformed tiles (arXiv 2304.11267 section 3.3), or 16: its tiles transformed, a
 * product for each of their points, and back. Without {@link WinogradConvolutionSpec.points} the weights are transformed
 * each time.
 */
export function winogradConvolution(
  backend: Backend,
  winograd: Winograd,
  spec: WinogradConvolutionSpec,
): readonly Launch[] {
  const { x, layer, out, mostBytes = MOST_BYTES } = spec;
  const { filtering, filtering: { points: count }, exact } = winograd;
  const plan = (shape: Shape, label: string) => planTensor(backend, shape, label, { exact });
  const width = tiles(filtering, out.width);
  const bytes = exact ? 4 : 2;
  const perRow = (channels: number) => bytes * count * x.batch * width * padded(channels);
  const rows = Math.min(
    mostBytes.strip / (perRow(layer.in) + perRow(layer.out)),
    MOST_BOUND / perRow(Math.max(layer.in, layer.out)),
  );
  const strips = parts(tiles(filtering, out.height), rows, 1);
  const perOutput = bytes * weightPoints(winograd, layer, 4).channels;
  const shares = spec.points ? [{ first: 0, count: layer.out }] : parts(layer.out, mostBytes.weights / perOutput, 64);
  const strip = (height: number, channels: number, label: string) =>
    plan({ batch: x.batch, channels: count * padded(channels), height, width }, label);

  const launches: Launch[] = [];
  let input: Tensor | undefined;
  for (const share of shares) {
    const points = spec.points ?? plan(weightPoints(winograd, layer, share.count), "winograd weights");
    if (!spec.points) launches.push(winograd.weights(layer.weights, points, share.first));
    for (const { first: firstRow, count: rows } of strips) {
      if (!input || strips.length > 1) {
        input = strip(rows, layer.in, "winograd input");
        launches.push(winograd.input({ x, points: input, window: spec.window, firstRow }));
      }
      const products = strip(rows, share.count, "winograd products");
      launches.push(
        ...multiply(backend, count, { points, input, products, in: layer.in, out: share.count }),
        winograd.output({ ...outputsOf(spec, share), points: products, firstRow }),
      );
    }
  }
  return launches;
}

/** A product for each of `count` points. */
function multiply(
  backend: Backend,
  count: number,
  { points, input, products, in: inputs, out }: {
    readonly points: Tensor;
    readonly input: Tensor;
    readonly products: Tensor;
    readonly in: number;
    readonly out: number;
  },
): readonly Launch[] {
  const perPoint = (rows: number): readonly [Stride, Stride] => [NO_STRIDE, { rows, columns: 0 }];
  const [product] = backend.product({
    a: points,
    b: input,
    out: products,
    m: out,
    n: input.batch * backend.sampleColumns(pixels(input)),
    k: inputs,
    batch: {
      outer: 1,
      inner: count,
      a: perPoint(padded(inputs)),
      b: perPoint(padded(inputs)),
      out: perPoint(padded(out)),
    },
  });
  return product!.launches();
}

/** The epilogue and output of some of the outputs. */
function outputsOf({ out, bias, plus, ...rest }: WinogradConvolutionSpec, { first, count }: Part) {
  const some = (x: Tensor) => channelsOf(x, first, count);
  return { ...rest, out: some(out), ...(bias && { bias: some(bias) }), ...(plus && { plus: some(plus) }) };
}
