/**
 * Memory of the texture backend: one storage texture a tensor, four rows (channels) a texel.
 * @module
 */
import { GpuMemoryError } from "../errors.ts";
import type { Packed, RawWeights } from "../backend.ts";
import type { Tensor, TextureLayout } from "../tensor.ts";
import type { TextureFormat, TexturePort } from "../kernel.ts";
import { packValues } from "../pack.ts";

/** The highest texture that every adapter of this backend offers. */
export const HIGHEST = 16384;

/**
 * The widest texture: a power of two, for folds, and less than adapters offer, because no side of a texture shall be a
 * power of two (see gpu.ts).
 */
export const WIDEST = 8192;

/**
 * Layout of `rows` x `columns`: as wide as the matrix, folded above 8,192 columns.
 *
 * @throws {GpuMemoryError} when the texture would be higher than 16,384 texels.
 */
export function textureLayout(rows: number, columns: number, format: TextureFormat = "rgba32float"): TextureLayout {
  const folded = columns > WIDEST;
  const fold = folded ? Math.ceil(columns / WIDEST) : 1;
  const height = Math.ceil(rows / 4) * fold;
  if (height > HIGHEST) {
    throw new GpuMemoryError(`${rows} channels of ${columns} pixels do not fit into a texture of this GPU`);
  }
  return {
    kind: "texture",
    format,
    width: folded ? WIDEST : columns,
    height,
    mask: folded ? WIDEST - 1 : 0x7fffffff,
    shift: folded ? Math.log2(WIDEST) : 31,
    fold,
  };
}

/** The texture layout behind a tensor. */
export function layoutOf(x: Tensor): TextureLayout {
  if (x.memory.layout.kind !== "texture") throw new TypeError(`${x.memory.label} is not a texture`);
  return x.memory.layout;
}

/** Calls `visit(texel, row, column)` for each texel of `rows` x `columns`; `texel` counts texels in memory. */
function eachTexel(
  layout: TextureLayout,
  rows: number,
  columns: number,
  visit: (texel: number, row: number, column: number) => void,
): void {
  const pitch = layout.width * layout.fold;
  for (let row = 0; row < rows; row += 4) {
    for (let column = 0; column < columns; column++) visit(row / 4 * pitch + column, row, column);
  }
}

/** Row-major values to texels, padded with zeros. */
export function encode(
  layout: TextureLayout,
  rows: number,
  columns: number,
  values: Float32Array,
): Float32Array<ArrayBuffer> {
  const data = new Float32Array(layout.width * layout.height * 4);
  eachTexel(layout, rows, columns, (texel, row, column) => {
    const end = Math.min(4, rows - row);
    for (let i = 0; i < end; i++) data[texel * 4 + i] = values[(row + i) * columns + column]!;
  });
  return data;
}

/** Texels to row-major values. */
export function decode(layout: TextureLayout, rows: number, columns: number, data: Float32Array): Float32Array {
  const values = new Float32Array(rows * columns);
  eachTexel(layout, rows, columns, (texel, row, column) => {
    const end = Math.min(4, rows - row);
    for (let i = 0; i < end; i++) values[(row + i) * columns + column] = data[texel * 4 + i]!;
  });
  return values;
}

/** Packs `[out, in, taps]` as `[taps][in / 4][out]` texels of four inputs, in the element type it came in. */
export function pack(weights: RawWeights): Packed {
  const { out, taps, data } = weights;
  const slices = Math.ceil(weights.in / 4);
  const format = data instanceof Uint16Array ? "rgba16float" : "rgba32float";
  const layout = textureLayout(taps * slices * 4, Math.ceil(out / 4) * 4, format);
  const pitch = layout.width * layout.fold;
  const start = (tap: number, channel: number) => (tap * slices + (channel >> 2)) * pitch * 4 + (channel & 3);
  return { layout, data: packValues(weights, { elements: layout.width * layout.height * 4, start, step: 4 }) };
}

/** A read port for a tensor, in its own texel format. */
export function readPort(name: string, x: Tensor): TexturePort {
  return { kind: "texture", name, access: "read", format: layoutOf(x).format };
}

/** A write port. */
export function writePort(name: string): TexturePort {
  return { kind: "texture", name, access: "write", format: "rgba32float" };
}

/** The sizes that {@link addressing} of `name` reads. */
export function addressSizes(name: string, x: Tensor): Record<string, number> {
  const { mask, shift, fold } = layoutOf(x);
  if (x.firstRow % 4 !== 0) throw new RangeError(`A view that starts at channel ${x.firstRow} is not on a texel`);
  return {
    [`${name}_mask`]: mask,
    [`${name}_shift`]: shift,
    [`${name}_fold`]: fold,
    [`${name}_slice`]: x.firstRow / 4,
  };
}

/** WGSL `NAME_at(slice, column)`: the texel of four rows of the tensor's view. */
export function addressing(name: string): string {
  return `fn ${name}_at(slice: i32, column: i32) -> vec2<i32> {
  return vec2<i32>(column & size.${name}_mask, (size.${name}_slice + slice) * size.${name}_fold + (column >> u32(size.${name}_shift)));
}`;
}
