/**
 * What every backend, a set of kernels, can do. Two exist: storage textures with subgroup broadcasts, which a software
 * adapter runs 35 times faster than anything in workgroup memory, and storage buffers with workgroup memory, for real
 * GPUs. What is special of one is data here: nothing else asks which it is.
 * @module
 */
import type { Launch, Operands, Way } from "./launch.ts";
import type { Layout, Memory, Tensor } from "./tensor.ts";
import type { Filtering } from "./winograd.ts";

/** How far an operand moves from one matrix product of a batch to the next. */
export interface Stride {
  readonly rows: number;
  readonly columns: number;
}

/** A batch of products: product `(i, j)` offsets each operand by `i` times its outer and `j` times its inner stride. */
export interface ProductBatch {
  readonly outer: number;
  readonly inner: number;
  readonly a: readonly [outer: Stride, inner: Stride];
  readonly b: readonly [outer: Stride, inner: Stride];
  readonly out: readonly [outer: Stride, inner: Stride];
}

/** An operand that stays where it is. */
export const NO_STRIDE: Stride = { rows: 0, columns: 0 };

const STILL = [NO_STRIDE, NO_STRIDE] as const;

export const SINGLE: ProductBatch = { outer: 1, inner: 1, a: STILL, b: STILL, out: STILL };

/** How a convolution's columns become taps: column = one output pixel, rows = taps x input channels. */
export interface Window {
  readonly size: number;
  /** Pixels from one output to the next: 1 or 2. */
  readonly stride: number;
  /** Zero pixels around the input on the top and left; what the right and bottom need follows from the output size. */
  readonly pad: number;
  /** Nearest-neighbour upsampling of the input before the convolution: 1 or 2. */
  readonly upsample: number;
  readonly inputHeight: number;
  readonly inputWidth: number;
  /** The input after upsampling; an odd size cuts the last row or column of a doubled one. */
  readonly imageHeight: number;
  readonly imageWidth: number;
  readonly outputHeight: number;
  readonly outputWidth: number;
}

/** Element-wise functions of one value. */
export type ValueFunction =
  | "silu"
  | "gelu"
  | "quick_gelu"
  | "relu"
  | "leaky_relu"
  | "soft_clamp"
  | "to_unit"
  | "from_unit";

/** What a layer does to its sums; `geglu` takes twice the rows: value x gelu(gate). */
export type Activation = "none" | "geglu" | ValueFunction;

/** What a launch does to its sums before it stores them. */
export interface Epilogue {
  /**
   * `[1, m, 1]`; or `[1, m, steps]` with `step`, whose current value chooses the column. With the batch of `out` instead
   * of 1, each sample has its own.
   */
  readonly bias?: Tensor;
  readonly step?: Memory;
  /** Added after the activation, shaped like `out`. */
  readonly plus?: Tensor;
  /** Whether `plus` is added before the activation instead; not for `geglu`. */
  readonly plusFirst?: boolean;
  /** Default `none`. */
  readonly activation?: Activation;
}

/** `out[m][n] = activation(sum_k a[k][m] b[k][n] + bias[m]) + plus[m][n]`: linear layers, convolutions, attention's products. */
export interface ProductSpec extends Epilogue {
  /** `[k, m]`: weights, or activations where both operands are. */
  readonly a: Tensor;
  /** `[k, n]`, or the image that `window` reads. */
  readonly b: Tensor;
  readonly out: Tensor;
  /** Output rows; for `geglu` the rows of one half. */
  readonly m: number;
  /** Output columns of one product of a {@link batch}; without one, all columns of `out`. */
  readonly n: number;
  /** Summed rows: input channels of one tap. */
  readonly k: number;
  /** Makes the product a convolution of `b`. */
  readonly window?: Window;
  /** Makes it many products in one launch. */
  readonly batch?: ProductBatch;
  /** Partially fused softmax (arXiv 2304.11267 section 3.2.1): `b` holds raw scores, `rows` their maxima and sums. */
  readonly softmax?: { readonly rows: Tensor; readonly scale: number };
}

/** What a backend's plain product is called among the ways to perform an operation. */
export function productName({ window, activation }: ProductSpec): string {
  if (window) return "direct";
  return activation === "geglu" ? "fused GEGLU" : "product";
}

/** A 3x3 convolution as Winograd's rules see it. */
export interface WinogradShape {
  readonly batch: number;
  readonly in: number;
  readonly out: number;
  readonly outputHeight: number;
  readonly outputWidth: number;
  /** Whether inputs and weights are float16. */
  readonly half: boolean;
}

/**
 * The transforms of a Winograd convolution of stride 1; `points` is `[batch, points x padded channels, tile rows, tile
 * columns]`, of all rows of tiles or of some from `firstRow` on.
 */
export interface WinogradInputSpec {
  readonly x: Tensor;
  readonly points: Tensor;
  readonly window: Window;
  readonly firstRow: number;
}

/** See {@link WinogradInputSpec}; `points` are the products of its points. */
export interface WinogradOutputSpec extends Epilogue {
  readonly points: Tensor;
  readonly out: Tensor;
  readonly firstRow: number;
}

/** Scores of one attention: `[batch x heads x paddedKeys, queries]`, one softmax above the other. */
export interface SoftmaxSpec {
  readonly scores: Tensor;
  /** Where probabilities, or maxima and sums, go. */
  readonly out: Tensor;
  /** Softmaxes in `scores`: batch x heads. */
  readonly count: number;
  readonly keys: number;
  /** Rows of each softmax: keys padded to a multiple of four. */
  readonly paddedKeys: number;
  /** Factor of the scores: 1 / sqrt(head width). */
  readonly scale: number;
  /** Whether query `q` sees only keys up to `q`. */
  readonly causal: boolean;
}

/** One attention: `q` and `out [batch, heads x width, queries]`, `k` and `v [batch, heads x width, keys]`. */
export interface AttentionSpec {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly out: Tensor;
  readonly heads: number;
}

export interface LayerNormSpec {
  readonly x: Tensor;
  readonly out: Tensor;
  /** `[channels, 2]`: column 0 the weights, column 1 the biases. */
  readonly affine: Tensor;
  readonly epsilon: number;
}

/** Group normalisation, optionally followed by SiLU. */
export interface GroupNormSpec extends LayerNormSpec {
  readonly groups: number;
  readonly silu: boolean;
}

/** A weight matrix packed for a backend: where it lies and its bytes. */
export interface Packed {
  readonly layout: Layout;
  readonly data: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;
}

/** Weights of a linear layer or convolution, `[out, in, taps]` row-major, as float32 or as the bits of float16. */
export interface RawWeights {
  readonly out: number;
  readonly in: number;
  readonly taps: number;
  readonly data: Float32Array | Uint16Array;
  /** Where the packed values may be put, given their bytes; without it they get memory of their own. */
  readonly room?: (bytes: number) => ArrayBuffer;
}

/** What a layer's weights are kept as. */
export interface WeightShape extends Pick<RawWeights, "out" | "in" | "taps"> {
  /** Whether in float16 instead of float32. */
  readonly half: boolean;
}

/** An element type that files store weights in: IEEE half, bfloat16, IEEE single. */
export type StoredType = "F16" | "BF16" | "F32";

/** Weights `[count, inputs, taps]` row-major of some outputs of a layer, as they are stored, and where they belong. */
export interface RowsSpec {
  /** Their bytes, as `u32`. */
  readonly raw: Memory;
  /** The first word of `raw`. */
  readonly start: number;
  readonly type: StoredType;
  /** The layer's weights, packed; zeros where nothing was written yet. */
  readonly weights: Memory;
  readonly inputs: number;
  readonly taps: number;
  /** The first output. */
  readonly first: number;
  readonly count: number;
  /** What is added to each weight in float32. */
  readonly plus?: {
    /** `[outputs, rank]`, of outputs that begin `skipped` before these. */
    readonly up: Memory;
    /** `[rank, inputs, taps]`. */
    readonly down: Memory;
    readonly rank: number;
    readonly skipped: number;
  };
}

/** What the host needs to know of a tensor to fill it or to read it. */
export interface MatrixShape {
  readonly layout: Layout;
  readonly rows: number;
  readonly batch: number;
  readonly pixels: number;
}

/**
 * How kernels that are written once reach memory: by vectors of four values, which are four rows of one column in a
 * texture and four columns of one row in a buffer. Rows and columns in their WGSL count vectors.
 */
export interface Vectors {
  readonly rows: 1 | 4;
  readonly columns: 1 | 4;
  /** Lanes of a workgroup that moves values. */
  readonly lanes: number;
  /** Vectors that each of them has on its way at once. */
  readonly reads: number;
  /** WGSL `NAME_load(row, column) -> vec4<f32>`. */
  reading(tensors: Readonly<Record<string, Tensor>>): Operands;
  /**
   * WGSL `NAME_store(NAME_at(row, column), value)`: for llvmpipe the place must be computed first, otherwise what is
   * limited by memory takes 7 % longer.
   */
  writing(tensors: Readonly<Record<string, Tensor>>): Operands;
  /** WGSL `over_lanes(v: vec4<f32>, lane: i32) -> vec4<f32>`: the sum over the lanes of a workgroup of `lanes`. */
  readonly sums: { readonly lanes: number; readonly text: string };
}

/** The kernels of one way to reach memory. */
export interface Backend {
  /** What it reads from; for words and for kept timings. */
  readonly name: "texture" | "buffer";
  readonly vectors: Vectors;
  /** The layout of `[batch, rows, pixels]` activations; `exact` ones are float32 whatever the others are. */
  layout(rows: number, batch: number, pixels: number, exact?: boolean): Layout;
  /** Columns from one sample to the next: `pixels`, or more where a backend aligns samples. */
  sampleColumns(pixels: number): number;
  /** Values `[rows, batch, pixels]` row-major to the bytes of `layout`, padded with zeros. */
  encode(shape: MatrixShape, values: Float32Array): Float32Array<ArrayBuffer>;
  /** The reverse of {@link encode}. */
  decode(shape: MatrixShape, data: Float32Array): Float32Array;
  /** The layout of weights as operand `a` of {@link product}: `[taps x in, out]`. */
  weightLayout(shape: WeightShape): Layout;
  /** Packs weights into {@link weightLayout}. */
  pack(weights: RawWeights): Packed;
  /** The same on the GPU, some outputs at a time; absent where the host is faster. */
  readonly packRows?: (spec: RowsSpec) => Launch;

  /** The ways to compute a product, the preferred one first. */
  product(spec: ProductSpec): readonly Way[];
  /** The ways to attend without scores in memory (FlashAttention's online softmax): none for heads that are too wide. */
  flashAttention(spec: AttentionSpec): readonly Way[];
  /** The ways to normalise in as few launches as can be (arXiv 2304.11267 section 3.1). */
  groupNorm(spec: GroupNormSpec): readonly Way[];
  layerNorm(spec: LayerNormSpec): Launch;
  /** Softmax over the keys of every query; pads become 0. */
  softmax(spec: SoftmaxSpec): Launch;
  /** Only the maximum and the sum of exponentials of every query, as rows 0 and 1 of `out`. */
  softmaxRows(spec: SoftmaxSpec): Launch;
  /** The widest head for which {@link ProductSpec.softmax} is faster than stored probabilities. */
  readonly widestFusedSoftmax: number;
  /** What computes convolutions by minimal filtering; the first where all of it is asked for. */
  readonly winograds: readonly Winograd[];
  /** The same for the same tensors without matrices of subgroups; absent where it has none. */
  readonly withoutMatrices?: Backend;
}

/** Winograd's convolutions with one minimal filtering. */
export interface Winograd {
  /** What {@link Way.kernels} calls it. */
  readonly name: string;
  readonly filtering: Filtering;
  /** Whether points are float32 whatever activations are. */
  readonly exact: boolean;
  /** Whether it can run a convolution. */
  fits(shape: WinogradShape): boolean;
  /** Whether it is faster than the direct convolution, by the fewer channels of the two and the tiles of all samples. */
  pays(size: { readonly channels: number; readonly tiles: number }): boolean;
  /** Weights `[9 x in, out]` to points `[points x padded in, some outputs]` from `firstOutput` on. */
  weights(weights: Tensor, points: Tensor, firstOutput: number): Launch;
  input(spec: WinogradInputSpec): Launch;
  output(spec: WinogradOutputSpec): Launch;
}

export type Shape = Pick<Tensor, "batch" | "channels" | "height" | "width">;

export interface Use {
  /** Whether it outlives the recording that writes it; default no. */
  readonly kept?: boolean;
  /** Whether it is float32 even where the backend stores activations as float16; default no. */
  readonly exact?: boolean;
}

/** A tensor laid out for `backend`; its memory is planned, not yet real. */
export function planTensor(backend: Backend, shape: Shape, label: string, use: Use = {}): Tensor {
  const { batch, channels, height, width } = shape;
  const { kept = false, exact = false } = use;
  const layout = backend.layout(channels, batch, height * width, exact);
  return { batch, channels, height, width, memory: { layout, label, kept }, firstRow: 0 };
}
