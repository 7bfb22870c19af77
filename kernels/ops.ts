/**
 * Operations on tensors: each records the launches of a backend and returns where the result will be.
 * @module
 */
import { attentionWays } from "./attention.ts";
import {
  type MatrixShape,
  planTensor,
  type RawWeights,
  type Shape,
  type Use,
  type ValueFunction,
  type WeightShape,
  type Window,
  type Winograd,
} from "./backend.ts";
import { separateGroupNorm } from "./baseline.ts";
import { activate, addScaled, concat, copy } from "./elementwise.ts";
import type { Launch, Way } from "./launch.ts";
import {
  type Affine,
  type ConvolutionOptions,
  type Layer,
  layerWays,
  type ProductOptions,
  type StepBias,
  weightPoints,
} from "./layer.ts";
import { Recorder } from "./recorder.ts";
import { Program } from "./program.ts";
import { bytesOf, columns, type Memory, pixels, shapeText, type Tensor } from "./tensor.ts";
import { type Filling, upload } from "./upload.ts";
import { attentionWork, layerWork, memoryWork } from "./work.ts";

export type { Affine, ConvolutionOptions, Layer, ProductOptions, Shape, StepBias };

/** Records operations. Nothing runs before {@link Ops.record} has made a {@link Program}. */
export class Ops extends Recorder {
  readonly #transformed: { readonly layer: Layer; readonly winograd: Winograd; readonly points: Tensor }[] = [];

  /** Gives back the weights that it transformed; programs that use them must not run afterwards. */
  dispose(): void {
    for (const { points } of this.#transformed.splice(0)) this.gpu.free(points.memory);
  }

  /** Gives back the weights that it transformed but for those in `kept`; they are transformed again for what uses them. */
  forget(kept: ReadonlySet<Memory>): void {
    for (const { points: { memory } } of this.#transformed) if (!kept.has(memory)) this.gpu.free(memory);
  }

  /** Gives back the memory of layers' weights, until they are filled again. Programs that use them must rest. */
  empty(layers: readonly Layer[]): void {
    for (const { weights: { memory } } of layers) this.gpu.free(memory);
  }

  /** Memory that outlives recordings; `exact` by default, as values from the host or for the host are. */
  keep(shape: Shape, label: string, { exact = true }: Pick<Use, "exact"> = {}): Tensor {
    return planTensor(this.backend, shape, label, { kept: true, exact });
  }

  buffer(elements: number, label: string, element: "f32" | "u32" = "f32"): Memory {
    const stride = Math.ceil(elements / 4) * 4;
    return { layout: { kind: "buffer", element, stride, bytes: stride * 4 }, label, kept: true };
  }

  /** Writes `values [batch, channels, height, width]` to a kept tensor. */
  write(x: Tensor, values: Float32Array): void {
    if (values.length !== columns(x) * x.channels) {
      throw new RangeError(`${values.length} values for a tensor ${shapeText(x)}`);
    }
    const rows = swapBatch(values, x.batch, x.channels, pixels(x));
    this.gpu.write(x.memory, this.backend.encode(matrixShape(x), rows));
  }

  /** The values `[batch, channels, height, width]` of a kept tensor. */
  async read(x: Tensor): Promise<Float32Array> {
    const data = await this.gpu.read(x.memory);
    return swapBatch(this.backend.decode(matrixShape(x), data), x.channels, x.batch, pixels(x));
  }

  /** Packs and uploads a layer; `weights` keep the element type they come in. */
  layer(weights: RawWeights, bias?: Float32Array): Layer {
    const layer = this.emptyLayer({ ...weights, half: weights.data instanceof Uint16Array }, bias);
    this.gpu.write(layer.weights.memory, this.backend.pack(weights).data);
    return layer;
  }

  /** A layer that can be recorded with; {@link fill} brings its weights. */
  emptyLayer(shape: WeightShape, bias?: Float32Array): Layer {
    const { out, in: inputs, taps } = shape;
    const memory: Memory = { layout: this.backend.weightLayout(shape), label: "weights", kept: true };
    return {
      weights: { batch: 1, channels: taps * inputs, height: out, width: 1, memory, firstRow: 0 },
      ...(bias && { bias: this.#upload(bias, out) }),
      in: inputs,
      out,
      window: Math.sqrt(taps),
    };
  }

  /** Reads, packs and uploads the weights of layers. */
  fill(fillings: readonly Filling[]): Promise<void> {
    return upload(this.gpu, this.backend, fillings);
  }

  affine(weight: Float32Array, bias: Float32Array): Affine {
    const affine = this.keep({ batch: 1, channels: weight.length, height: 2, width: 1 }, "parameters");
    this.writeAffine(affine, weight, bias);
    return affine;
  }

  /** Writes other values of a normalisation. */
  writeAffine(affine: Affine, weight: Float32Array, bias: Float32Array): void {
    this.write(affine, Float32Array.from({ length: 2 * weight.length }, (_, i) => (i % 2 ? bias : weight)[i >> 1]!));
  }

  #upload(values: Float32Array, rows: number): Tensor {
    const tensor = this.keep({ batch: 1, channels: rows, height: 1, width: 1 }, "parameters");
    this.write(tensor, values);
    return tensor;
  }

  #tensor(shape: Shape, label: string, exact = false): Tensor {
    return planTensor(this.backend, shape, label, { exact });
  }

  /** Writes the result into `out` instead of new memory: for results that the host reads or a later program needs. */
  copy(x: Tensor, out: Tensor): void {
    this.launch(copy(this.backend, x, out));
  }

  linear(x: Tensor, layer: Layer, options: ProductOptions & { into?: Tensor } = {}): Tensor {
    return this.convolve(x, layer, options);
  }

  /** A convolution, 1x1 or 3x3, or (window 1) a linear layer. */
  convolve(x: Tensor, layer: Layer, options: ConvolutionOptions & { into?: Tensor } = {}): Tensor {
    if (x.channels !== layer.in) {
      throw new RangeError(`A layer of ${layer.in} inputs was given a tensor ${shapeText(x)}`);
    }
    const { stride = 1, upsample = 1, pad = layer.window >> 1, activation = "none", stepBias, plus } = options;
    const [imageHeight, imageWidth] = options.image ?? [x.height * upsample, x.width * upsample];
    const reach = pad + (options.padEnd ?? pad) - layer.window;
    const height = Math.floor((imageHeight + reach) / stride) + 1;
    const width = Math.floor((imageWidth + reach) / stride) + 1;
    const channels = activation === "geglu" ? layer.out / 2 : layer.out;
    const out = options.into ?? this.#tensor({ batch: x.batch, channels, height, width }, "product", options.exact);
    const window: Window | undefined = layer.window === 1 ? undefined : {
      size: layer.window,
      stride,
      pad,
      upsample,
      inputHeight: x.height,
      inputWidth: x.width,
      imageHeight,
      imageWidth,
      outputHeight: height,
      outputWidth: width,
    };
    const bias = stepBias?.values ?? layer.bias;
    if (bias && bias.batch !== 1 && bias.batch !== x.batch) {
      throw new RangeError(`A bias of ${bias.batch} samples was given to a tensor ${shapeText(x)}`);
    }
    if (options.plusFirst && activation === "geglu") throw new RangeError("Nothing can be added before GEGLU");
    const spec = {
      x,
      layer,
      out,
      activation,
      ...(bias && { bias }),
      ...(stepBias && { step: stepBias.step }),
      ...(plus && { plus }),
      ...(options.plusFirst && { plusFirst: true }),
      ...(window && { window }),
    };
    const ways = layerWays(this.backend, this.optimizations, spec, (winograd) => this.#winogradPoints(layer, winograd));
    this.perform(layerWork(x, layer, out), ways);
    return out;
  }

  /**
   * A layer's weights transformed for Winograd once, before what is recorded runs, unless those of others fill what memory
   * may be spent on that.
   */
  #winogradPoints(layer: Layer, winograd: Winograd): Tensor | undefined {
    const known = this.#transformed.find((known) => known.layer === layer && known.winograd === winograd);
    const points = known?.points ??
      this.keep(weightPoints(winograd, layer), "winograd weights", { exact: winograd.exact });
    if (!known) {
      const all = [...this.#transformed.map(({ points }) => points), points];
      if (all.reduce((sum, { memory }) => sum + bytesOf(memory.layout), 0) > this.transformedBytes) return undefined;
      // Timing reads no values.
      if (this.surveying) return points;
      this.#transformed.push({ layer, winograd, points });
    }
    this.require(() => {
      if (this.gpu.holds(points.memory)) return;
      const program = new Program(this.gpu, [winograd.weights(layer.weights, points, 0)]);
      program.run();
      program.dispose();
    });
    return points;
  }

  groupNorm(x: Tensor, affine: Affine, options: { groups: number; epsilon: number; silu?: boolean }): Tensor {
    const out = this.#tensor(x, "group norm");
    const spec = { x, out, affine, silu: false, ...options };
    const separate = { kernels: "separate launches", launches: () => separateGroupNorm(this.backend, spec) };
    const fused = this.optimizations.normalization ? this.backend.groupNorm(spec) : [];
    this.perform(memoryWork("group norm", out, x), [...fused, separate]);
    return out;
  }

  layerNorm(x: Tensor, affine: Affine, options: { epsilon: number }): Tensor {
    const out = this.#tensor(x, "layer norm");
    this.perform(
      memoryWork("layer norm", out, x),
      oneShader(() => this.backend.layerNorm({ x, out, affine, ...options })),
    );
    return out;
  }

  /** A function of each value on its own; after a layer it is that layer's activation instead. */
  activate(x: Tensor, f: ValueFunction): Tensor {
    const out = this.#tensor(x, f);
    this.perform(memoryWork(f, out, x), oneShader(() => activate(this.backend, x, out, f)));
    return out;
  }

  /** `scale x + y`. */
  addScaled(x: Tensor, y: Tensor, scale: number): Tensor {
    const out = this.#tensor(x, "sum");
    this.perform(memoryWork("add scaled", out, x, y), oneShader(() => addScaled(this.backend, { x, y, scale, out })));
    return out;
  }

  concat(x: Tensor, y: Tensor): Tensor {
    const out = this.#tensor({ ...x, channels: x.channels + y.channels }, "concat");
    this.perform(memoryWork("concat", out, x, y), oneShader(() => concat(this.backend, { x, y, out })));
    return out;
  }

  /**
   * Scaled dot-product attention: `softmax(q^T k / sqrt(width)) v` for each of `heads` runs of channels of
   * `q [batch, heads x width, queries]`, `k` and `v [batch, heads x width, keys]`.
   */
  attention(q: Tensor, k: Tensor, v: Tensor, options: { heads: number; causal?: boolean }): Tensor {
    const { heads, causal = false } = options;
    const out = this.#tensor(q, "attention");
    const ways = attentionWays(this.backend, this.optimizations, { q, k, v, out, heads, causal });
    this.perform(attentionWork(q, k, heads), ways);
    return out;
  }
}

function oneShader(launch: () => Launch): readonly Way[] {
  return [{ kernels: "one shader", launches: () => [launch()] }];
}

function matrixShape(x: Tensor): MatrixShape {
  return { layout: x.memory.layout, rows: x.channels, batch: x.batch, pixels: pixels(x) };
}

/** `[a, b, n]` to `[b, a, n]`: between sample by sample and channel by channel. */
function swapBatch(values: Float32Array, a: number, b: number, n: number): Float32Array {
  if (a === 1 || b === 1) return values;
  const swapped = new Float32Array(values.length);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) swapped.set(values.subarray((i * b + j) * n, (i * b + j + 1) * n), (j * a + i) * n);
  }
  return swapped;
}
