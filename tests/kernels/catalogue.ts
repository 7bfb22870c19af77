/**
 * One launch of every kind of kernel, made without a GPU: for tests of their texts and sizes.
 * @module
 */
import type { Activation, Backend, Launch, Window } from "../../kernels/backend.ts";
import { planTensor } from "../../kernels/planned.ts";
import { columns, type Memory, pixels, type Tensor } from "../../kernels/tensor.ts";
import { POINTS, tiles } from "../../kernels/winograd.ts";

/** What the launches are made for. */
export interface CatalogueShape {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly groups: number;
  readonly heads: number;
  /** Keys of attention with its scores in memory. */
  readonly keys: number;
}

const BUFFER: Memory = {
  layout: { kind: "buffer", element: "f32", stride: 4, bytes: 16 },
  label: "buffer",
  kept: true,
};
const STILL = { rows: 0, columns: 0 };

function tensorOf(backend: Backend, channels: number, shape: Pick<Tensor, "batch" | "height" | "width">): Tensor {
  const { batch, height, width } = shape;
  return planTensor(backend, { batch, channels, height, width }, "tensor");
}

function matrixOf(backend: Backend, rows: number, columns: number): Tensor {
  return tensorOf(backend, rows, { batch: 1, height: columns, width: 1 });
}

function weightsOf(backend: Backend, inputs: number, out: number, taps: number, half = false): Tensor {
  const data = new (half ? Uint16Array : Float32Array)(out * inputs * taps);
  const { layout } = backend.pack({ out, in: inputs, taps, data });
  return { ...matrixOf(backend, taps * inputs, out), memory: { layout, label: "weights", kept: true } };
}

/** Every launch of `backend` at one shape, in an order that does not depend on the shape. */
export function everyLaunch(backend: Backend, shape: CatalogueShape): readonly Launch[] {
  return [
    ...products(backend, shape),
    ...winograd(backend, shape),
    ...transformers(backend, shape),
    ...others(backend, shape),
  ];
}

/** Linear layers and convolutions with each storage type and epilogue. */
export function products(backend: Backend, { batch, channels, height, width }: CatalogueShape): readonly Launch[] {
  const x = tensorOf(backend, channels, { batch, height, width });
  const sizes = { b: x, out: x, m: channels, n: columns(x), k: channels };
  const a = weightsOf(backend, channels, channels, 1);
  const bias = matrixOf(backend, channels, 1);
  const activations: readonly Activation[] = ["none", "silu", "gelu", "quick_gelu"];
  const gated = {
    ...sizes,
    a: weightsOf(backend, channels, 2 * channels, 1),
    bias: matrixOf(backend, 2 * channels, 1),
  };
  const convolution = { ...sizes, a: weightsOf(backend, channels, channels, 9), window: windowOf(x) };
  return [
    ...backend.product({ ...sizes, a }),
    ...backend.product({ ...sizes, a: weightsOf(backend, channels, channels, 1, true) }),
    ...activations.flatMap((activation) => backend.product({ ...sizes, a, bias, activation })),
    ...backend.product({ ...sizes, a, bias, plus: x }),
    ...backend.product({ ...gated, activation: "geglu" }),
    ...backend.product({ ...convolution, bias, plus: x }),
    ...backend.product({ ...convolution, a: weightsOf(backend, channels, channels, 9, true), bias, step: BUFFER }),
  ];
}

/** A 3x3 window that keeps the size. */
function windowOf({ height, width }: Tensor): Window {
  return {
    size: 3,
    stride: 1,
    pad: 1,
    upsample: 1,
    inputHeight: height,
    inputWidth: width,
    imageHeight: height,
    imageWidth: width,
    outputHeight: height,
    outputWidth: width,
  };
}

/** The transforms of a Winograd convolution. */
export function winograd(backend: Backend, { batch, channels, height, width }: CatalogueShape): readonly Launch[] {
  const x = tensorOf(backend, channels, { batch, height, width });
  const points = tensorOf(backend, POINTS * channels, { batch, height: tiles(height), width: tiles(width) });
  const bias = matrixOf(backend, channels, 1);
  return [
    backend.winogradWeights(
      weightsOf(backend, channels, channels, 9),
      matrixOf(backend, POINTS * channels, channels),
      0,
    ),
    backend.winogradInput({ x, points, window: windowOf(x), firstRow: 0 }),
    backend.winogradOutput({ points, out: x, firstRow: 0, bias, plus: x }),
    backend.winogradOutput({ points, out: x, firstRow: 0, bias, step: BUFFER, activation: "silu" }),
  ];
}

/** Layer normalisation, FlashAttention with heads of 8, and the parts of attention with its scores in memory. */
export function transformers(backend: Backend, shape: CatalogueShape): readonly Launch[] {
  const { batch, heads, keys, height, width } = shape;
  const x = tensorOf(backend, 8 * heads, { batch, height, width });
  const count = batch * heads;
  const paddedKeys = Math.ceil(keys / 4) * 4;
  const scores = matrixOf(backend, count * paddedKeys, pixels(x));
  const softmax = { scores, count, keys, paddedKeys, scale: 1, causal: false };
  const rows = matrixOf(backend, 4 * count, pixels(x));
  const flash = backend.flashAttention({ q: x, k: x, v: x, out: x, heads });
  return [
    backend.layerNorm({ x, out: x, affine: matrixOf(backend, x.channels, 2), epsilon: 1e-5 }),
    ...(flash ? [flash] : []),
    backend.softmax({ ...softmax, out: scores }),
    backend.softmaxRows({ ...softmax, out: rows }),
    backend.transpose(x, matrixOf(backend, batch * Math.ceil(pixels(x) / 4) * 4, 8 * heads)),
    ...backend.product({
      a: matrixOf(backend, count * paddedKeys, 8),
      b: scores,
      out: matrixOf(backend, count * 8, pixels(x)),
      m: 8,
      n: pixels(x),
      k: keys,
      batch: {
        outer: 1,
        inner: count,
        a: [STILL, { rows: paddedKeys, columns: 0 }],
        b: [STILL, { rows: paddedKeys, columns: 0 }],
        out: [STILL, { rows: 8, columns: 0 }],
      },
      softmax: { rows, scale: 1 },
    }),
  ];
}

/** Group normalisation, element-wise operations and the sampler. */
export function others(
  backend: Backend,
  { batch, channels, height, width, groups }: CatalogueShape,
): readonly Launch[] {
  const x = tensorOf(backend, channels, { batch, height, width });
  const affine = matrixOf(backend, channels, 2);
  const norm = { x, out: x, affine, groups, epsilon: 1e-5 };
  const latent = tensorOf(backend, 4, { batch: 2, height, width });
  const single = { ...latent, batch: 1 };
  const buffers = { state: BUFFER, noise: BUFFER, coefficients: BUFFER, step: BUFFER };
  return [
    ...backend.groupNorm({ ...norm, silu: false }),
    ...backend.groupNorm({ ...norm, silu: true }),
    ...backend.groupNormParts(norm),
    ...(["none", "silu", "gelu", "quick_gelu"] as const).map((activation) => backend.activate(x, x, activation)),
    backend.add(x, x, x),
    backend.multiply(x, x, x),
    backend.concat(x, x, tensorOf(backend, 2 * channels, { batch, height, width })),
    ...[1, 2, 3, 4, 5].map((slots) => backend.sample({ ...buffers, prediction: latent, input: latent, slots })),
    backend.sample({ ...buffers, prediction: single, input: single, slots: 1 }),
  ];
}
