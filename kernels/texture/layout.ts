/**
 * Memory of the texture backend: one storage texture a tensor, four rows (channels) a texel.
 * @module
 */
import { GpuMemoryError } from "../errors.ts";
import type { MatrixShape, Packed, RawWeights, Vectors, WeightShape } from "../backend.ts";
import type { TextureFormat, TexturePort } from "../kernel.ts";
import { joinOperands, type Operands } from "../launch.ts";
import { packValues } from "../pack.ts";
import { bytesOf, type Tensor, type TextureLayout } from "../tensor.ts";

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

export function layoutOf(x: Tensor): TextureLayout {
  if (x.memory.layout.kind !== "texture") throw new TypeError(`${x.memory.label} is not a texture`);
  return x.memory.layout;
}

/** Calls `visit` with where each value lies, on the host and in memory. */
function eachValue({ layout, rows, batch, pixels }: MatrixShape, visit: (host: number, memory: number) => void): void {
  if (layout.kind !== "texture") throw new TypeError("Expected the layout of a texture");
  const [columns, pitch] = [batch * pixels, layout.width * layout.fold];
  for (let row = 0; row < rows; row++) {
    const first = (row >> 2) * pitch;
    for (let column = 0; column < columns; column++) visit(row * columns + column, (first + column) * 4 + (row & 3));
  }
}

/** Values `[rows, batch, pixels]` to texels, padded with zeros. */
export function encode(shape: MatrixShape, values: Float32Array): Float32Array<ArrayBuffer> {
  const data = new Float32Array(bytesOf(shape.layout) / 4);
  eachValue(shape, (host, memory) => data[memory] = values[host]!);
  return data;
}

/** The reverse of {@link encode}. */
export function decode(shape: MatrixShape, data: Float32Array): Float32Array {
  const values = new Float32Array(shape.rows * shape.batch * shape.pixels);
  eachValue(shape, (host, memory) => values[host] = data[memory]!);
  return values;
}

/** Weights as `[taps][in / 4][out]` texels of four inputs. */
export function weightLayout({ out, in: inputs, taps, half }: WeightShape): TextureLayout {
  const format = half ? "rgba16float" : "rgba32float";
  return textureLayout(taps * Math.ceil(inputs / 4) * 4, Math.ceil(out / 4) * 4, format);
}

/** Packs `[out, in, taps]`, in the element type it came in. */
export function pack(weights: RawWeights): Packed {
  const slices = Math.ceil(weights.in / 4);
  const layout = weightLayout({ ...weights, half: weights.data instanceof Uint16Array });
  const pitch = layout.width * layout.fold;
  const start = (tap: number, channel: number) => (tap * slices + (channel >> 2)) * pitch * 4 + (channel & 3);
  return { layout, data: packValues(weights, { elements: layout.width * layout.height * 4, start, step: 4 }) };
}

/** The sizes of a tensor that {@link addressText} reads. */
function addressSizes(name: string, x: Tensor): Record<string, number> {
  const { mask, shift, fold } = layoutOf(x);
  if (x.firstRow % 4 !== 0) {
    throw new RangeError(`A view cannot start at channel ${x.firstRow}, which is not a multiple of 4`);
  }
  return {
    [`${name}_mask`]: mask,
    [`${name}_shift`]: shift,
    [`${name}_fold`]: fold,
    [`${name}_slice`]: x.firstRow / 4,
  };
}

/** WGSL `NAME_at(slice, column)`: the texel of four rows of the tensor's view. */
function addressText(name: string): string {
  return `fn ${name}_at(slice: i32, column: i32) -> vec2<i32> {
  return vec2<i32>(column & size.${name}_mask, (size.${name}_slice + slice) * size.${name}_fold + (column >> u32(size.${name}_shift)));
}`;
}

function operand(name: string, x: Tensor, access: TexturePort["access"], text: string): Operands {
  return {
    ports: [{ kind: "texture", name, access, format: layoutOf(x).format }],
    memory: [x.memory],
    sizes: addressSizes(name, x),
    text: `${addressText(name)}\n${text}`,
  };
}

/** WGSL `NAME_load(slice, column) -> vec4<f32>`; outside of the texture zeros (probed). */
export function reading(tensors: Readonly<Record<string, Tensor>>): Operands {
  return joinOperands(
    ...Object.entries(tensors).map(([name, x]) =>
      operand(
        name,
        x,
        "read",
        `fn ${name}_load(slice: i32, column: i32) -> vec4<f32> {
  return textureLoad(${name}, ${name}_at(slice, column));
}`,
      )
    ),
  );
}

/** WGSL `NAME_store(at, value)`. */
export function writing(tensors: Readonly<Record<string, Tensor>>): Operands {
  return joinOperands(
    ...Object.entries(tensors).map(([name, x]) => {
      const text = `fn ${name}_store(at: vec2<i32>, value: vec4<f32>) { textureStore(${name}, at, value); }`;
      return operand(name, x, "write", text);
    }),
  );
}

/** WGSL `over_lanes(v, lane)`: the sum over the 8 lanes of a subgroup, in all of them. */
export const LANE_SUMS = `fn over_lanes(v: vec4<f32>, lane: i32) -> vec4<f32> {
  return ((subgroupBroadcast(v, 0u) + subgroupBroadcast(v, 1u)) + (subgroupBroadcast(v, 2u) + subgroupBroadcast(v, 3u)))
       + ((subgroupBroadcast(v, 4u) + subgroupBroadcast(v, 5u)) + (subgroupBroadcast(v, 6u) + subgroupBroadcast(v, 7u)));
}`;

/** See {@link Vectors}: a vector is a texel. 64 lanes are enough to hide a workgroup's start (150 ns). */
export const texels: Vectors = {
  rows: 4,
  columns: 1,
  lanes: 64,
  reads: 1,
  reading,
  writing,
  sums: { lanes: 8, text: LANE_SUMS },
};
