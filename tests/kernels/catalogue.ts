/**
 * One launch of every kind of kernel, made without a GPU: for tests of their texts and sizes.
 * @module
 */
import type { Activation, Family, Launch, Window } from "../../kernels/family.ts";
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

function tensorOf(family: Family, channels: number, shape: Pick<Tensor, "batch" | "height" | "width">): Tensor {
  const { batch, height, width } = shape;
  return planTensor(family, { batch, channels, height, width }, "tensor");
}

function matrixOf(family: Family, rows: number, columns: number): Tensor {
  return tensorOf(family, rows, { batch: 1, height: columns, width: 1 });
}

function weightsOf(family: Family, inputs: number, out: number, taps: number, half = false): Tensor {
  const data = new (half ? Uint16Array : Float32Array)(out * inputs * taps);
  const { layout } = family.pack({ out, in: inputs, taps, data });
  return { ...matrixOf(family, taps * inputs, out), memory: { layout, label: "weights", kept: true } };
}

/** Every launch of `family` at one shape, in an order that does not depend on the shape. */
export function everyLaunch(family: Family, shape: CatalogueShape): readonly Launch[] {
  return [
    ...products(family, shape),
    ...winograd(family, shape),
    ...transformers(family, shape),
    ...others(family, shape),
  ];
}

/** Linear layers and convolutions with each storage type and epilogue. */
export function products(family: Family, { batch, channels, height, width }: CatalogueShape): readonly Launch[] {
  const x = tensorOf(family, channels, { batch, height, width });
  const sizes = { b: x, out: x, m: channels, n: columns(x), k: channels };
  const a = weightsOf(family, channels, channels, 1);
  const bias = matrixOf(family, channels, 1);
  const activations: readonly Activation[] = ["none", "silu", "gelu", "quick_gelu"];
  const gated = { ...sizes, a: weightsOf(family, channels, 2 * channels, 1), bias: matrixOf(family, 2 * channels, 1) };
  const convolution = { ...sizes, a: weightsOf(family, channels, channels, 9), window: windowOf(x) };
  return [
    ...family.product({ ...sizes, a }),
    ...family.product({ ...sizes, a: weightsOf(family, channels, channels, 1, true) }),
    ...activations.flatMap((activation) => family.product({ ...sizes, a, bias, activation })),
    ...family.product({ ...sizes, a, bias, plus: x }),
    ...family.product({ ...gated, activation: "geglu" }),
    ...family.product({ ...convolution, bias, plus: x }),
    ...family.product({ ...convolution, a: weightsOf(family, channels, channels, 9, true), bias, step: BUFFER }),
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
export function winograd(family: Family, { batch, channels, height, width }: CatalogueShape): readonly Launch[] {
  const x = tensorOf(family, channels, { batch, height, width });
  const points = tensorOf(family, POINTS * channels, { batch, height: tiles(height), width: tiles(width) });
  const bias = matrixOf(family, channels, 1);
  return [
    family.winogradWeights(weightsOf(family, channels, channels, 9), matrixOf(family, POINTS * channels, channels), 0),
    family.winogradInput({ x, points, window: windowOf(x), firstRow: 0 }),
    family.winogradOutput({ points, out: x, firstRow: 0, bias, plus: x }),
    family.winogradOutput({ points, out: x, firstRow: 0, bias, step: BUFFER, activation: "silu" }),
  ];
}

/** Layer normalisation, FlashAttention with heads of 8, and the parts of attention with its scores in memory. */
export function transformers(family: Family, shape: CatalogueShape): readonly Launch[] {
  const { batch, heads, keys, height, width } = shape;
  const x = tensorOf(family, 8 * heads, { batch, height, width });
  const count = batch * heads;
  const paddedKeys = Math.ceil(keys / 4) * 4;
  const scores = matrixOf(family, count * paddedKeys, pixels(x));
  const softmax = { scores, count, keys, paddedKeys, scale: 1, causal: false };
  const rows = matrixOf(family, 4 * count, pixels(x));
  const flash = family.flashAttention({ q: x, k: x, v: x, out: x, heads });
  return [
    family.layerNorm({ x, out: x, affine: matrixOf(family, x.channels, 2), epsilon: 1e-5 }),
    ...(flash ? [flash] : []),
    family.softmax({ ...softmax, out: scores }),
    family.softmaxRows({ ...softmax, out: rows }),
    family.transpose(x, matrixOf(family, batch * Math.ceil(pixels(x) / 4) * 4, 8 * heads)),
    ...family.product({
      a: matrixOf(family, count * paddedKeys, 8),
      b: scores,
      out: matrixOf(family, count * 8, pixels(x)),
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
export function others(family: Family, { batch, channels, height, width, groups }: CatalogueShape): readonly Launch[] {
  const x = tensorOf(family, channels, { batch, height, width });
  const affine = matrixOf(family, channels, 2);
  const norm = { x, out: x, affine, groups, epsilon: 1e-5 };
  const latent = tensorOf(family, 4, { batch: 2, height, width });
  const single = { ...latent, batch: 1 };
  const buffers = { state: BUFFER, noise: BUFFER, coefficients: BUFFER, step: BUFFER };
  return [
    ...family.groupNorm({ ...norm, silu: false }),
    ...family.groupNorm({ ...norm, silu: true }),
    ...family.groupNormParts(norm),
    ...(["none", "silu", "gelu", "quick_gelu"] as const).map((activation) => family.activate(x, x, activation)),
    family.add(x, x, x),
    family.multiply(x, x, x),
    family.concat(x, x, tensorOf(family, 2 * channels, { batch, height, width })),
    ...[1, 2, 3, 4, 5].map((slots) => family.sample({ ...buffers, prediction: latent, input: latent, slots })),
    family.sample({ ...buffers, prediction: single, input: single, slots: 1 }),
  ];
}
