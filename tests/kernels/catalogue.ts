/**
 * One launch of every kind of kernel, made without a GPU: for tests of their texts and sizes.
 * @module
 */
import {
  type Activation,
  type Backend,
  NO_STRIDE,
  planTensor,
  type ProductSpec,
  type Window,
} from "../../kernels/backend.ts";
import { separateGroupNorm } from "../../kernels/baseline.ts";
import { addScaled, concat, copy, transpose } from "../../kernels/elementwise.ts";
import type { Launch, Way } from "../../kernels/launch.ts";
import { recurrence } from "../../kernels/recurrence.ts";
import { columns, type Memory, pixels, type Tensor } from "../../kernels/tensor.ts";
import { tiles } from "../../kernels/winograd.ts";

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

/** The launches of every way. */
function launchesOf(ways: readonly Way[]): readonly Launch[] {
  return ways.flatMap(({ launches }) => launches());
}

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
    ...packing(backend, shape),
  ];
}

/** Weights of every stored type into those of each kept one, with and without a product that is added. */
export function packing(backend: Backend, { channels }: CatalogueShape): readonly Launch[] {
  const { packRows } = backend;
  if (!packRows) return [];
  const whole = { raw: BUFFER, start: 0, inputs: channels, taps: 9, first: 0, count: channels };
  const plus = { up: BUFFER, down: BUFFER, rank: 4, skipped: 0 };
  return [false, true].flatMap((half) => {
    const { memory: weights } = weightsOf(backend, channels, channels, 9, half);
    return (["F16", "BF16", "F32"] as const).flatMap((type) =>
      [{}, { plus }].map((more) => packRows({ ...whole, weights, type, ...more }))
    );
  });
}

/** Linear layers and convolutions with each storage type and epilogue. */
export function products(backend: Backend, { batch, channels, height, width }: CatalogueShape): readonly Launch[] {
  const x = tensorOf(backend, channels, { batch, height, width });
  const sizes = { b: x, out: x, m: channels, n: columns(x), k: channels };
  const a = weightsOf(backend, channels, channels, 1);
  const bias = matrixOf(backend, channels, 1);
  const activations: readonly Activation[] = ["none", "silu", "gelu", "quick_gelu", "relu", "leaky_relu", "from_unit"];
  const gated = {
    ...sizes,
    a: weightsOf(backend, channels, 2 * channels, 1),
    bias: matrixOf(backend, 2 * channels, 1),
  };
  const convolution = { ...sizes, a: weightsOf(backend, channels, channels, 9), window: windowOf(x) };
  const product = (spec: ProductSpec) => launchesOf(backend.product(spec));
  const biases = tensorOf(backend, channels, { batch, height: 4, width: 1 });
  return [
    ...product({ ...sizes, a }),
    ...product({ ...sizes, a: weightsOf(backend, channels, channels, 1, true) }),
    ...activations.flatMap((activation) => product({ ...sizes, a, bias, activation })),
    ...product({ ...sizes, a, bias, plus: x }),
    ...product({ ...gated, activation: "geglu" }),
    ...product({ ...convolution, bias, plus: x }),
    ...product({ ...convolution, a: weightsOf(backend, channels, channels, 9, true), bias, step: BUFFER }),
    ...product({ ...sizes, a, bias: biases, step: BUFFER, activation: "silu", plus: x, plusFirst: true }),
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

/** The transforms of Winograd's convolutions. */
export function winograd(backend: Backend, { batch, channels, height, width }: CatalogueShape): readonly Launch[] {
  const x = tensorOf(backend, channels, { batch, height, width });
  const bias = matrixOf(backend, channels, 1);
  return backend.winograds.flatMap(({ filtering, exact, weights, input, output }) => {
    const plan = (columns: Pick<Tensor, "batch" | "height" | "width">) =>
      planTensor(backend, { ...columns, channels: filtering.points * channels }, "points", { exact });
    const points = plan({ batch, height: tiles(filtering, height), width: tiles(filtering, width) });
    return [
      weights(weightsOf(backend, channels, channels, 9), plan({ batch: 1, height: channels, width: 1 }), 0),
      input({ x, points, window: windowOf(x), firstRow: 0 }),
      output({ points, out: x, firstRow: 0, bias, plus: x }),
      output({ points, out: x, firstRow: 0, bias, step: BUFFER, activation: "silu" }),
    ];
  });
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
  return [
    backend.layerNorm({ x, out: x, affine: matrixOf(backend, x.channels, 2), epsilon: 1e-5 }),
    ...launchesOf(backend.flashAttention({ q: x, k: x, v: x, out: x, heads })),
    backend.softmax({ ...softmax, out: scores }),
    backend.softmaxRows({ ...softmax, out: rows }),
    transpose(backend, x, matrixOf(backend, batch * Math.ceil(pixels(x) / 4) * 4, 8 * heads)),
    ...launchesOf(backend.product({
      a: matrixOf(backend, count * paddedKeys, 8),
      b: scores,
      out: matrixOf(backend, count * 8, pixels(x)),
      m: 8,
      n: pixels(x),
      k: keys,
      batch: {
        outer: 1,
        inner: count,
        a: [NO_STRIDE, { rows: paddedKeys, columns: 0 }],
        b: [NO_STRIDE, { rows: paddedKeys, columns: 0 }],
        out: [NO_STRIDE, { rows: 8, columns: 0 }],
      },
      softmax: { rows, scale: 1 },
    })),
  ];
}

/** Group normalisation, element-wise operations and the recurrence. */
export function others(
  backend: Backend,
  { batch, channels, height, width, groups }: CatalogueShape,
): readonly Launch[] {
  const x = tensorOf(backend, channels, { batch, height, width });
  const affine = matrixOf(backend, channels, 2);
  const norm = { x, out: x, affine, groups, epsilon: 1e-5 };
  const latent = tensorOf(backend, 4, { batch: 2, height, width });
  const single = { ...latent, batch: 1 };
  const buffers = { states: BUFFER, noise: BUFFER, table: BUFFER, step: BUFFER };
  return [
    ...[false, true].flatMap((silu) => launchesOf(backend.groupNorm({ ...norm, silu }))),
    ...separateGroupNorm(backend, { ...norm, silu: true }),
    copy(backend, x, x),
    addScaled(backend, { x, y: x, out: x, scale: 0.2 }),
    concat(backend, { x, y: x, out: tensorOf(backend, 2 * channels, { batch, height, width }) }),
    ...[1, 2, 3, 4, 5].map((count) => recurrence(backend, { ...buffers, x: latent, out: latent, count })),
    recurrence(backend, { ...buffers, x: single, out: single, count: 1, masked: BUFFER }),
  ];
}
