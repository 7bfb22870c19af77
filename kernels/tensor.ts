/**
 * Tensors as kernels see them: shapes, and where their values lie.
 * @module
 */

/**
 * How a backend lays out a matrix of `rows` x `columns` in memory. Rows are channels (or the summed
 * dimension), columns are all pixels or tokens of all samples of a batch, sample by sample.
 */
export type Layout = TextureLayout | BufferLayout;

/**
 * Slices of four rows: texel `(column, row / 4)` holds rows `row` to `row + 3` of one column. More columns than a
 * texture is wide are folded: `x = column & mask`, `y = slice * fold + (column >> shift)`.
 */
export interface TextureLayout {
  readonly kind: "texture";
  readonly format: "rgba32float" | "rgba16float";
  readonly width: number;
  readonly height: number;
  /** Of a column, the bits that are x. */
  readonly mask: number;
  /** Of a column, how many bits are x. */
  readonly shift: number;
  /** Texel rows of one slice. */
  readonly fold: number;
}

/** Row-major, each row padded to `stride` elements (a multiple of four, so that rows can be read four at a time). */
export interface BufferLayout {
  readonly kind: "buffer";
  /** The type of one value; `f16 pair` is float16 read two at a time from a `u32`, for adapters without the type. */
  readonly element: "f32" | "f16" | "f16 pair" | "u32";
  /** Values from one row to the next. */
  readonly stride: number;
  readonly bytes: number;
}

export function texelBytes(format: TextureLayout["format"]): number {
  return format === "rgba32float" ? 16 : 8;
}

export function bytesOf(layout: Layout): number {
  return layout.kind === "buffer" ? layout.bytes : layout.width * layout.height * texelBytes(layout.format);
}

/** A piece of GPU memory, planned or real, known by its identity. */
export interface Memory {
  readonly layout: Layout;
  /** For messages. */
  readonly label: string;
  /** Whether it outlives the recording that writes it. */
  readonly kept: boolean;
}

/**
 * `x [batch, channels, height, width]`. Tokens `[batch, tokens, channels]` are the same thing with `height` tokens
 * and `width` 1: an image becomes tokens without a copy.
 */
export interface Tensor {
  readonly batch: number;
  readonly channels: number;
  /** Rows of pixels, or tokens. */
  readonly height: number;
  /** Columns of pixels; 1 for tokens. */
  readonly width: number;
  readonly memory: Memory;
  /** First row of the memory that belongs to this tensor: a view of some channels. */
  readonly firstRow: number;
}

/** Whether values are float16 of their own type. */
export function isHalf({ memory: { layout } }: Tensor): boolean {
  return layout.kind === "buffer" && layout.element === "f16";
}

/** Columns of a tensor's matrix: batch x height x width. */
export function columns(x: Tensor): number {
  return x.batch * x.height * x.width;
}

/** Pixels or tokens of one sample. */
export function pixels(x: Tensor): number {
  return x.height * x.width;
}

/**
 * The channels `[first, first + count)` of a tensor, without a copy.
 *
 * @throws {RangeError} when they are outside the tensor or do not start at a multiple of four.
 */
export function channelsOf(x: Tensor, first: number, count: number): Tensor {
  if (first < 0 || count < 1 || first + count > x.channels || first % 4 !== 0) {
    throw new RangeError(`Channels ${first} to ${first + count} of ${x.channels} cannot be viewed`);
  }
  return { ...x, channels: count, firstRow: x.firstRow + first };
}

/** The first sample of a batch, without a copy. */
export function firstSample(x: Tensor): Tensor {
  return { ...x, batch: 1 };
}

/** Shape as text, `[batch, channels, height, width]`. */
export function shapeText(x: Pick<Tensor, "batch" | "channels" | "height" | "width">): string {
  return `[${x.batch}, ${x.channels}, ${x.height}, ${x.width}]`;
}
