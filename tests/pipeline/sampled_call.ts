/**
 * Operations of a model on random operands, and single outputs of them by definition, in float64: a whole reference
 * would take hours at a large model's shapes.
 * @module
 */
import type { Shape } from "../../kernels/ops.ts";
import { FUNCTIONS, gelu, silu } from "../../kernels/reference/elementwise.ts";
import { softmax } from "../../kernels/reference/attention.ts";
import { activationTolerance, dotTolerance, EPSILON } from "../kernels/harness.ts";
import type { AttentionCall, Call, ConcatCall, ConvolutionCall, GroupNormCall } from "./model_calls.ts";
import { operandShapes, outputShape } from "./performed_call.ts";

/** Values of a call's operands, all of which float16 holds. */
export interface Values {
  readonly tensors: readonly Float32Array<ArrayBuffer>[];
  /** `[out, in, taps]`. */
  readonly weights: Float16Array<ArrayBuffer>;
  /** Of outputs, or of channels that are normalised: weights, then biases. */
  readonly affine: readonly [Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>];
}

/** One output: what it is, and how far a kernel may be off. */
export interface Sample {
  readonly want: number;
  readonly allowed: number;
}

/** Arithmetic whose errors are allowed. */
export interface Arithmetic {
  /** Kernels whose transforms make a dot product's error larger, if they do. */
  readonly kernels: string;
  /** Whether products, and sums of a few of them, are float16. */
  readonly half: boolean;
}

/** How many times a dot product's error the transforms of each make it, see tests/kernels/winograd_test.ts. */
const AMPLIFICATION: Readonly<Record<string, number>> = { "Winograd": 94, "Winograd F(2x2)": 5 };

/** Half the distance from 1 to the next float16. */
const HALF_EPSILON = 2 ** -11;

/** Products that are added in float16 before their sum is added in float32, see kernels/buffer/product_cut.ts. */
const HALF_DEPTH = 16;

const ACTIVATIONS = { none: (x: number) => x, ...FUNCTIONS };

/** Fills `values` with multiples of 1/1024 in -1 to 1, which float16 holds. */
function fill<T extends Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer>>(values: T, seed: number): T {
  let state = seed;
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = (state >> 21) / 1024;
  }
  return values;
}

function sizeOf({ batch, channels, height, width }: Shape): number {
  return batch * channels * height * width;
}

/** Random operands of a call. */
export function drawValues(call: Call): Values {
  const tensors = operandShapes(call).map((shape, i) => fill(new Float32Array(sizeOf(shape)), i + 1));
  const count = call.kind === "convolution" ? call.out : operandShapes(call)[0]!.channels;
  const weights = call.kind === "convolution" ? call.out * call.x.channels * call.window ** 2 : 0;
  return {
    tensors,
    weights: fill(new Float16Array(weights), 11),
    affine: [fill(new Float32Array(count), 12), fill(new Float32Array(count), 13)],
  };
}

/** Shape of a call's result. */
export function resultShape(call: Call): Shape {
  if (call.kind === "convolution") return outputShape(call);
  if (call.kind === "attention") return call.q;
  return { ...call.x, channels: call.x.channels + (call.kind === "concat" ? call.second : 0) };
}

/** Where an output is: the sample, the channel and the pixel. */
type Place = readonly [sample: number, channel: number, pixel: number];

/** The output of a call at a place. */
export function sampleOf(call: Call, values: Values, place: Place, arithmetic: Arithmetic): Sample {
  switch (call.kind) {
    case "convolution":
      return convolutionSample(call, values, place, arithmetic);
    case "attention":
      return attentionSample(call, values, place, arithmetic);
    case "group norm":
      return groupNormSample(call, values, place, arithmetic);
    case "layer norm":
      return layerNormSample(call.x, values, place, arithmetic);
    case "concat":
      return concatSample(call, values, place);
  }
}

/** The error of a dot product of `length` terms up to 1. */
function dotError(length: number, { half }: Arithmetic): number {
  if (!half) return dotTolerance(length);
  // A sum of k products is as large as sqrt(k) / 3 and so are its roundings; those of all tiles add up as squares do.
  const depth = Math.min(length, HALF_DEPTH);
  return dotTolerance(length) + 4 * HALF_EPSILON * depth / (3 * Math.SQRT2) * Math.sqrt(length / depth);
}

/** The error of a dot product of transformed values: those of F(4x4) are float32 in any case, of F(2x2) never. */
function transformedError(length: number, { kernels }: Arithmetic): number {
  if (kernels === "Winograd") return dotTolerance(length);
  // Transformed inputs, weights and the product are each rounded.
  return dotError(length, { kernels, half: true }) + 4 * HALF_EPSILON * Math.sqrt(3 * length) / 3;
}

/** Roundings of values up to `most` on their way through memory. */
function storageError(most: number, { half }: Arithmetic): number {
  return 4 * (half ? HALF_EPSILON : EPSILON) * most;
}

function convolutionSample(call: ConvolutionCall, values: Values, place: Place, arithmetic: Arithmetic): Sample {
  const { options: { activation = "none", plusFirst }, x, window, plus } = call;
  const [sample, channel, pixel] = place;
  const shape = outputShape(call);
  const dot = window === 3 && arithmetic.kernels in AMPLIFICATION
    ? AMPLIFICATION[arithmetic.kernels]! * transformedError(x.channels, arithmetic)
    : dotError(x.channels * window ** 2, arithmetic) + 8 * EPSILON;
  const at = ((sample * shape.channels + channel) * shape.height * shape.width) + pixel;
  const added = plus ? values.tensors[1]![at]! : 0;
  if (activation === "geglu") {
    const value = sumOf(call, values, place);
    const gate = sumOf(call, values, [sample, channel + shape.channels, pixel]);
    const most = Math.max(1, Math.abs(value), Math.abs(gate));
    const error = dot + storageError(most, arithmetic);
    return {
      want: value * gelu(gate) + added,
      allowed: most * (2.2 * error + activationTolerance(most)) + storageError(most * most + 1, arithmetic),
    };
  }
  const sum = sumOf(call, values, place) + (plusFirst ? added : 0);
  const want = ACTIVATIONS[activation](sum) + (plusFirst ? 0 : added);
  const size = Math.abs(sum);
  const slope = activation === "from_unit" ? 2 : 1.2;
  const steep = activation === "none" ? dot : slope * dot + activationTolerance(size);
  return { want, allowed: steep + storageError(size + Math.abs(want) + 1, arithmetic) };
}

/** The sum of a convolution at one output, with its bias. */
function sumOf(call: ConvolutionCall, { tensors, weights, affine }: Values, [sample, out, pixel]: Place): number {
  const { x, window, options: { stride = 1, upsample = 1, pad = window >> 1, image } } = call;
  const [imageHeight, imageWidth] = image ?? [x.height * upsample, x.width * upsample];
  const { width } = outputShape(call);
  const [row, column] = [Math.floor(pixel / width) * stride - pad, pixel % width * stride - pad];
  let sum = call.bias === "none" ? 0 : affine[1][out]!;
  for (let s = 0; s < window; s++) {
    for (let t = 0; t < window; t++) {
      const [i, j] = [row + s, column + t];
      if (i < 0 || j < 0 || i >= imageHeight || j >= imageWidth) continue;
      const from = Math.floor(i / upsample) * x.width + Math.floor(j / upsample);
      for (let channel = 0; channel < x.channels; channel++) {
        const weight = weights[(out * x.channels + channel) * window * window + s * window + t]!;
        sum += weight * tensors[0]![(sample * x.channels + channel) * x.height * x.width + from]!;
      }
    }
  }
  return sum;
}

function attentionSample(call: AttentionCall, { tensors }: Values, place: Place, arithmetic: Arithmetic): Sample {
  const [sample, channel, query] = place;
  const { q, keys, heads, causal } = call;
  const [queries, width] = [q.height * q.width, q.channels / heads];
  const first = sample * q.channels + channel - channel % width;
  const visible = causal ? Math.min(keys, query + 1) : keys;
  const scores = Float64Array.from({ length: visible }, (_, key) => {
    let sum = 0;
    for (let c = 0; c < width; c++) {
      sum += tensors[0]![(first + c) * queries + query]! * tensors[1]![(first + c) * keys + key]!;
    }
    return sum / Math.sqrt(width);
  });
  const row = (sample * q.channels + channel) * keys;
  const want = softmax(scores).reduce((sum, weight, key) => sum + weight * tensors[2]![row + key]!, 0);
  const most = scores.reduce((most, score) => Math.max(most, Math.abs(score)), 0);
  // As tests/kernels/attention_test.ts has it.
  const score = dotError(width, arithmetic) / Math.sqrt(width) + storageError(most, arithmetic);
  const weights = 2 * (score + 2 * EPSILON * (3 + 2 * most)) + 4 * EPSILON * Math.sqrt(visible);
  return { want, allowed: weights + storageError(1, arithmetic) };
}

/** Mean and variance of values, then the error and the output of a normalised one, as normalization_test.ts has it. */
function normalised(values: Float64Array, index: number, scale: number, shift: number, epsilon: number) {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count;
  const want = (values[index]! - mean) / Math.sqrt(variance + epsilon) * scale + shift;
  const most = Math.max(2, Math.abs(want));
  return { want, allowed: 4 * EPSILON * Math.sqrt(count) * (1 + most / 2) + 5 * EPSILON * most };
}

function groupNormSample(call: GroupNormCall, values: Values, place: Place, arithmetic: Arithmetic): Sample {
  const { x, groups, epsilon, silu: active } = call;
  const [sample, channel, pixel] = place;
  const count = x.height * x.width;
  const size = x.channels / groups;
  const first = (sample * x.channels + channel - channel % size) * count;
  const group = Float64Array.from(values.tensors[0]!.subarray(first, first + size * count));
  const [weight, bias] = values.affine;
  const index = channel % size * count + pixel;
  const { want, allowed } = normalised(group, index, weight[channel]!, bias[channel]!, epsilon);
  const stored = allowed + storageError(Math.abs(want) + 1, arithmetic);
  if (!active) return { want, allowed: stored };
  return { want: silu(want), allowed: 1.13 * stored + activationTolerance(Math.abs(want)) };
}

function layerNormSample(x: Shape, { tensors, affine }: Values, place: Place, arithmetic: Arithmetic): Sample {
  const [sample, channel, token] = place;
  const count = x.height * x.width;
  const at = (c: number) => tensors[0]![(sample * x.channels + c) * count + token]!;
  const row = Float64Array.from({ length: x.channels }, (_, c) => at(c));
  const { want, allowed } = normalised(row, channel, affine[0][channel]!, affine[1][channel]!, 1e-5);
  return { want, allowed: allowed + storageError(Math.abs(want) + 1, arithmetic) };
}

function concatSample({ x, second }: ConcatCall, { tensors }: Values, [sample, channel, pixel]: Place): Sample {
  const count = x.height * x.width;
  const inFirst = channel < x.channels;
  const row = inFirst ? sample * x.channels + channel : sample * second + channel - x.channels;
  return { want: tensors[inFirst ? 0 : 1]![row * count + pixel]!, allowed: 0 };
}
