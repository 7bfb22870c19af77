/**
 * What every backend, a set of kernels, can do. Two backends exist: storage textures with subgroup broadcasts, which a
 * software adapter runs 35 times faster than anything in workgroup memory, and storage buffers with workgroup
 * memory, for real GPUs. {@link Ops} calls one of them and never asks which.
 * @module
 */
import type { Kernel } from "./kernel.ts";
import type { Layout, Memory, Tensor } from "./tensor.ts";

/** A kernel and the memory behind each of its ports, in order. */
export interface Launch {
  /** What to launch. */
  readonly kernel: Kernel;
  /** The memory behind each of the kernel's ports, in order. */
  readonly memory: readonly Memory[];
  /** The operation that it is part of. */
  readonly work?: Work;
}

/** One operation of a recording: what it is worth is counted by its definition, whatever its kernels do. */
export interface Operation {
  /** What is computed and its shape. */
  readonly operation: string;
  /** Element types of its operands. */
  readonly elements: string;
  /** Multiplications and additions. */
  readonly flops: number;
  /** Bytes of operands and result. */
  readonly bytes: number;
}

/** An operation and what performs it, for profiles. */
export interface Work extends Operation {
  /** The kernels that were chosen. */
  readonly kernels: string;
  /** How they were chosen; absent where nothing else could run. */
  readonly by?: "table" | "timing";
}

/** How far an operand moves from one matrix product of a batch to the next. */
export interface Stride {
  /** Rows from one product to the next. */
  readonly rows: number;
  /** Columns from one product to the next. */
  readonly columns: number;
}

/** A batch of products: product `(i, j)` offsets each operand by `i` times its outer and `j` times its inner stride. */
export interface ProductBatch {
  /** Products along the outer index. */
  readonly outer: number;
  /** Products along the inner index. */
  readonly inner: number;
  /** How operand `a` moves. */
  readonly a: readonly [outer: Stride, inner: Stride];
  /** How operand `b` moves. */
  readonly b: readonly [outer: Stride, inner: Stride];
  /** How the output moves. */
  readonly out: readonly [outer: Stride, inner: Stride];
}

/** How a convolution's columns become taps: column = one output pixel, rows = taps x input channels. */
export interface Window {
  /** Taps along one side: 1 or 3. */
  readonly size: number;
  /** Pixels from one output to the next: 1 or 2. */
  readonly stride: number;
  /** Zero pixels around the input on the top and left; what the right and bottom need follows from the output size. */
  readonly pad: number;
  /** Nearest-neighbour upsampling of the input before the convolution: 1 or 2. */
  readonly upsample: number;
  /** Rows of the input in memory. */
  readonly inputHeight: number;
  /** Columns of the input in memory. */
  readonly inputWidth: number;
  /** The input after upsampling; an odd size cuts the last row or column of a doubled one. */
  readonly imageHeight: number;
  /** Columns of the input after upsampling. */
  readonly imageWidth: number;
  /** Rows of the output. */
  readonly outputHeight: number;
  /** Columns of the output. */
  readonly outputWidth: number;
}

/** Element-wise functions; `geglu` takes twice the rows: value x gelu(gate). */
export type Activation = "none" | "silu" | "gelu" | "quick_gelu" | "geglu";

/** `out[m][n] = activation(sum_k a[k][m] b[k][n] + bias[m]) + plus[m][n]`: linear layers, convolutions, attention's products. */
export interface ProductSpec extends Epilogue {
  /** `[k, m]`: weights, or activations where both operands are. */
  readonly a: Tensor;
  /** `[k, n]`, or the image that `window` reads. */
  readonly b: Tensor;
  /** Where the result goes, `[m, n]`. */
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

/** What a launch does to its sums before it stores them. */
export interface Epilogue {
  /**
   * `[1, m, 1]`; or `[1, m, steps]` with `step`, whose current value chooses the column. Of a batch as large as that of
   * `out`, each sample has its own.
   */
  readonly bias?: Tensor;
  /** One `u32`: the index of the running step. */
  readonly step?: Memory;
  /** Added after the activation, shaped like `out`. */
  readonly plus?: Tensor;
  /** Whether `plus` is added before the activation instead; not for `geglu`. */
  readonly plusFirst?: boolean;
  /** Default `none`. */
  readonly activation?: Activation;
}

/**
 * The transforms of a Winograd convolution; `points` is `[batch, 36 x padded channels, tile rows, tile columns]`, of all
 * rows of tiles or of some.
 */
export interface WinogradInputSpec {
  /** The convolution's input `[batch, channels, height, width]`. */
  readonly x: Tensor;
  /** Where its transformed tiles go. */
  readonly points: Tensor;
  /** Of stride 1. */
  readonly window: Window;
  /** The row of tiles that `points` begin with. */
  readonly firstRow: number;
}

/** See {@link WinogradInputSpec}. */
export interface WinogradOutputSpec extends Epilogue {
  /** The products of the 36 points. */
  readonly points: Tensor;
  /** The convolution's output. */
  readonly out: Tensor;
  /** The row of tiles that `points` begin with. */
  readonly firstRow: number;
}

/** Scores of one attention: `[batch x heads x paddedKeys, queries]`. */
export interface SoftmaxSpec {
  /** Raw scores, one softmax above the other. */
  readonly scores: Tensor;
  /** Where probabilities, or maxima and sums, go. */
  readonly out: Tensor;
  /** Softmaxes in `scores`, one above the other: batch x heads. */
  readonly count: number;
  /** Keys of each softmax. */
  readonly keys: number;
  /** Rows of each softmax: keys padded to a multiple of four. */
  readonly paddedKeys: number;
  /** Factor of the scores: 1 / sqrt(head width). */
  readonly scale: number;
  /** Whether query `q` sees only keys up to `q`. */
  readonly causal: boolean;
}

/** One attention: `q [batch, heads x width, queries]`, `k` and `v [batch, heads x width, keys]`. */
export interface AttentionSpec {
  /** Queries. */
  readonly q: Tensor;
  /** Keys. */
  readonly k: Tensor;
  /** Values. */
  readonly v: Tensor;
  /** Where the result goes, shaped like `q`. */
  readonly out: Tensor;
  /** Runs of channels that attend on their own. */
  readonly heads: number;
}

/** Group normalisation, optionally followed by SiLU. */
export interface GroupNormSpec {
  /** What is normalised. */
  readonly x: Tensor;
  /** Where the result goes, shaped like `x`. */
  readonly out: Tensor;
  /** `[channels, 2]`: column 0 the weights, column 1 the biases. */
  readonly affine: Tensor;
  /** Groups of channels. */
  readonly groups: number;
  /** Added to the variance. */
  readonly epsilon: number;
  /** Whether SiLU follows. */
  readonly silu: boolean;
}

/** Layer normalisation over the channels of each column. */
export interface LayerNormSpec {
  /** What is normalised. */
  readonly x: Tensor;
  /** Where the result goes, shaped like `x`. */
  readonly out: Tensor;
  /** `[channels, 2]`: column 0 the weights, column 1 the biases. */
  readonly affine: Tensor;
  /** Added to the variance. */
  readonly epsilon: number;
}

/** The end of a denoising step: guidance and the scheduler's linear transition. */
export interface SamplerSpec {
  /** The UNet's output `[1 or 2, channels, h, w]`; of two samples the first is the unconditional one. */
  readonly prediction: Tensor;
  /** Where the next step's UNet input goes, shaped like `prediction`. */
  readonly input: Tensor;
  /** `f32`: one latent a slot, each as {@link Backend.encode} lays out `[channels, h x w]`. */
  readonly state: Memory;
  /** `f32`: one fresh normal draw, laid out likewise. */
  readonly noise: Memory;
  /**
   * `f32`, for each step: the factor of `input`, guidance, then a row for each slot: the factors of the old slots, of
   * the guided prediction and of the noise.
   */
  readonly coefficients: Memory;
  /** One `u32`, advanced by {@link advance} when the step has ended. */
  readonly step: Memory;
  /** Slots of the sampler's state. */
  readonly slots: number;
  /**
   * Makes the step an inpainting one. `f32`, three latents laid out like a slot of `state`: the mask, 1 where the
   * picture is made and 0 where it is kept, the original latent, and its noise. Each step's coefficients then end with
   * two more, the factors of original and noise, of which the kept places are made anew behind the step.
   */
  readonly original?: Memory;
}

/** A weight matrix packed for a backend: where it lies and its bytes. */
export interface Packed {
  /** Where the weights lie. */
  readonly layout: Layout;
  /** Their bytes. */
  readonly data: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;
}

/** Weights of a linear layer or convolution, `[out, in, taps]` row-major, as float32 or as the bits of float16. */
export interface RawWeights {
  /** Outputs. */
  readonly out: number;
  /** Inputs. */
  readonly in: number;
  /** Taps of the window: 1 or 9. */
  readonly taps: number;
  /** The values, `[out, in, taps]` row-major. */
  readonly data: Float32Array | Uint16Array;
  /** Where the packed values may be put, given their bytes; without it they get memory of their own. */
  readonly room?: (bytes: number) => ArrayBuffer;
}

/** What the host needs to know of a tensor to fill it or to read it. */
export interface MatrixShape {
  /** Where the values lie. */
  readonly layout: Layout;
  /** Rows: channels. */
  readonly rows: number;
  /** Samples. */
  readonly batch: number;
  /** Columns of one sample. */
  readonly pixels: number;
}

/** The kernels of one way to reach memory. */
export interface Backend {
  /** What the backend reads from. */
  readonly name: "texture" | "buffer";
  /** The layout of `[batch, rows, pixels]` activations; `exact` ones are float32 whatever the others are. */
  layout(rows: number, batch: number, pixels: number, exact?: boolean): Layout;
  /** Columns from one sample to the next: `pixels`, or more where a backend aligns samples. */
  sampleColumns(pixels: number): number;
  /** Values `[rows, batch, pixels]` row-major to the bytes of `layout`, padded with zeros. */
  encode(shape: MatrixShape, values: Float32Array): Float32Array<ArrayBuffer>;
  /** The reverse of {@link encode}. */
  decode(shape: MatrixShape, data: Float32Array): Float32Array;
  /** Packs weights as operand `a` of {@link product}: `[taps x in, out]`. */
  pack(weights: RawWeights): Packed;
  /** More than one launch where a sum is split and added up. */
  product(spec: ProductSpec): readonly Launch[];
  /**
   * Weights `[9 x in, out]` as {@link product} takes them to points `[36 x padded in, some outputs]`, float32, from
   * `firstOutput` on.
   */
  winogradWeights(weights: Tensor, points: Tensor, firstOutput: number): Launch;
  /** Tiles of a convolution's input, transformed. */
  winogradInput(spec: WinogradInputSpec): Launch;
  /** Products of transformed tiles to a convolution's output. */
  winogradOutput(spec: WinogradOutputSpec): Launch;
  /** Softmax over the keys of every query; pads become 0. */
  softmax(spec: SoftmaxSpec): Launch;
  /** Only the maximum and the sum of exponentials of every query, as rows 0 and 1 of `out`. */
  softmaxRows(spec: SoftmaxSpec): Launch;
  /** Attention without stored scores (FlashAttention's online softmax); `undefined` for head widths it cannot hold. */
  flashAttention(spec: AttentionSpec): Launch | undefined;
  /** Group normalisation in one shader (arXiv 2304.11267 section 3.1), or in two where groups are large. */
  groupNorm(spec: GroupNormSpec): readonly Launch[];
  /** {@link groupNorm} without SiLU, a launch each for means, variances and values. */
  groupNormParts(spec: Omit<GroupNormSpec, "silu">): readonly Launch[];
  /** Layer normalisation in one shader. */
  layerNorm(spec: LayerNormSpec): Launch;
  /** `out = activation(x)`. */
  activate(x: Tensor, out: Tensor, activation: Activation): Launch;
  /** `out = x + y`. */
  add(x: Tensor, y: Tensor, out: Tensor): Launch;
  /** `out = x y`, value by value. */
  multiply(x: Tensor, y: Tensor, out: Tensor): Launch;
  /** The channels of `x`, then those of `y`. */
  concat(x: Tensor, y: Tensor, out: Tensor): Launch;
  /** Guidance and the scheduler's step. */
  sample(spec: SamplerSpec): Launch;
  /** `x [batch, channels, columns]` to `out [batch x paddedColumns, channels]`; pads become 0. */
  transpose(x: Tensor, out: Tensor): Launch;
}
