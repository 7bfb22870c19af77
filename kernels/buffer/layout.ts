/**
 * Memory of the buffer backend: one storage buffer a tensor, rows (channels) of columns (pixels), four columns a load.
 * Samples start at multiples of four columns; pads between them hold anything and reach no result.
 * @module
 */
import type { MatrixShape, Packed, RawWeights, Vectors, WeightShape } from "../backend.ts";
import { joinOperands, type Operands } from "../launch.ts";
import { packValues } from "../pack.ts";
import { type BufferLayout, pixels, type Tensor } from "../tensor.ts";
import { reductions } from "./reduction.ts";

/** Columns from one sample to the next. */
export function sampleColumns(pixels: number): number {
  return Math.ceil(pixels / 4) * 4;
}

/** Layout of `[rows, batch, pixels]`. */
export function bufferLayout(
  rows: number,
  batch: number,
  pixels: number,
  element: BufferLayout["element"] = "f32",
): BufferLayout {
  const stride = batch * sampleColumns(pixels);
  return { kind: "buffer", element, stride, bytes: rows * stride * (element.startsWith("f16") ? 2 : 4) };
}

export function layoutOf(x: Tensor): BufferLayout {
  if (x.memory.layout.kind !== "buffer") throw new TypeError(`${x.memory.label} is not a buffer`);
  return x.memory.layout;
}

/** How a buffer of each element type is bound: four columns an element, or one. */
const TYPES = {
  "f32": { quad: "vec4<f32>", single: "f32" },
  "f16": { quad: "vec4<f16>", single: "f16" },
  "f16 pair": { quad: "vec2<u32>", single: "u32" },
  "u32": { quad: "vec4<u32>", single: "u32" },
} as const;

/** Values `[rows, batch, pixels]` to the bytes of a float32 layout. */
export function encode(shape: MatrixShape, values: Float32Array): Float32Array<ArrayBuffer> {
  const data = new Float32Array(shape.layout.kind === "buffer" ? shape.layout.bytes / 4 : 0);
  eachRun(shape, (from, to) => data.set(values.subarray(from, from + shape.pixels), to));
  return data;
}

/** The reverse of {@link encode}. */
export function decode(shape: MatrixShape, data: Float32Array): Float32Array {
  const values = new Float32Array(shape.rows * shape.batch * shape.pixels);
  eachRun(shape, (from, to) => values.set(data.subarray(to, to + shape.pixels), from));
  return values;
}

/** Calls `visit` with where each row of each sample starts, on the host and in memory. */
function eachRun({ rows, batch, pixels }: MatrixShape, visit: (host: number, memory: number) => void): void {
  for (let run = 0; run < rows * batch; run++) visit(run * pixels, run * sampleColumns(pixels));
}

/**
 * Weights as rows of `taps x in`, columns of `out`: as operand `a` of a product both operands then have the summed index
 * outermost, and tiles are plain copies.
 */
export function weightLayout(shape: WeightShape, float16: "f16" | "f16 pair"): BufferLayout {
  return bufferLayout(shape.taps * shape.in, 1, shape.out, shape.half ? float16 : "f32");
}

/** Packs `[out, in, taps]`, in the element type it came in. */
export function pack(weights: RawWeights, float16: "f16" | "f16 pair"): Packed {
  const layout = weightLayout({ ...weights, half: weights.data instanceof Uint16Array }, float16);
  const { stride } = layout;
  const start = (tap: number, channel: number) => (tap * weights.in + channel) * stride;
  return { layout, data: packValues(weights, { elements: weights.taps * weights.in * stride, start, step: 1 }) };
}

function addressSizes(name: string, x: Tensor): Record<string, number> {
  return {
    [`${name}_stride`]: layoutOf(x).stride / 4,
    [`${name}_row`]: x.firstRow,
    [`${name}_sample`]: sampleColumns(pixels(x)) / 4,
  };
}

/** WGSL of four columns at `index`, as `type`. */
function quadText(name: string, x: Tensor, index: string, type: "f32" | "f16" = "f32"): string {
  const { element } = layoutOf(x);
  const quad = `${name}[${index}]`;
  if (element === type) return quad;
  return element === "f16 pair"
    ? `vec4<${type}>(vec4<f32>(unpack2x16float(${quad}.x), unpack2x16float(${quad}.y)))`
    : `vec4<${type}>(${quad})`;
}

/** WGSL of one column at `index`, as `type`. */
function singleText(name: string, x: Tensor, index: string, type: "f32" | "f16" = "f32"): string {
  const { element } = layoutOf(x);
  if (element === type) return `${name}[${index}]`;
  return element === "f16 pair"
    ? `${type}(unpack2x16float(${name}[(${index}) >> 1u])[(${index}) & 1])`
    : `${type}(${name}[${index}])`;
}

/** WGSL of `value`, a `vec4<f32>`, as it is stored. */
function storedText(x: Tensor, value: string): string {
  const { element } = layoutOf(x);
  if (element === "f32") return value;
  return element === "f16"
    ? `vec4<f16>(${value})`
    : `vec2<u32>(pack2x16float(${value}.xy), pack2x16float(${value}.zw))`;
}

/** A tensor's port and sizes, of four columns an element or of one, with the WGSL that reaches it. */
function operand(name: string, x: Tensor, { scalar = false, written = false, text = "" }): Operands {
  const access = written ? "read_write" : "read";
  const element = TYPES[layoutOf(x).element][scalar ? "single" : "quad"];
  return {
    ports: [{ kind: "buffer", name, access, element }],
    memory: [x.memory],
    sizes: addressSizes(name, x),
    text,
  };
}

function each(tensors: Readonly<Record<string, Tensor>>, make: (name: string, x: Tensor) => Operands): Operands {
  return joinOperands(...Object.entries(tensors).map(([name, x]) => make(name, x)));
}

/** WGSL `NAME_at(row, quad)`: where a quad lies; sample `b` starts at quad `b * size.NAME_sample`. */
function addressText(name: string): string {
  return `fn ${name}_at(row: i32, quad: i32) -> i32 { return (size.${name}_row + row) * size.${name}_stride + quad; }`;
}

/** WGSL `NAME_load(row, quad) -> vec4<f32>`. */
export function reading(tensors: Readonly<Record<string, Tensor>>): Operands {
  return each(tensors, (name, x) =>
    operand(name, x, {
      text: `${addressText(name)}
fn ${name}_load(row: i32, quad: i32) -> vec4<f32> { let at = ${name}_at(row, quad); return ${
        quadText(name, x, "at")
      }; }`,
    }));
}

/** WGSL `NAME_store(at, value)`. */
export function writing(tensors: Readonly<Record<string, Tensor>>): Operands {
  return each(tensors, (name, x) =>
    operand(name, x, {
      written: true,
      text: `${addressText(name)}
fn ${name}_store(at: i32, value: vec4<f32>) { ${name}[at] = ${storedText(x, "value")}; }`,
    }));
}

/** WGSL `NAME_value(row, column) -> f32`, for kernels whose columns are not neighbours. */
export function readingScalars(tensors: Readonly<Record<string, Tensor>>): Operands {
  return each(tensors, (name, x) =>
    operand(name, x, {
      scalar: true,
      text: `fn ${name}_value(row: i32, column: i32) -> f32 {
  let at = (size.${name}_row + row) * size.${name}_stride * 4 + column;
  return ${singleText(name, x, "at")};
}`,
    }));
}

/**
 * WGSL `NAME_get(index)`: four columns, or one where `scalar`, as `type`, by their place in memory, for loops that step
 * through it.
 */
export function indexing(
  name: string,
  x: Tensor,
  { scalar = false, type = "f32" }: { readonly scalar?: boolean; readonly type?: "f32" | "f16" } = {},
): Operands {
  const text = scalar
    ? `fn ${name}_get(index: i32) -> ${type} { return ${singleText(name, x, "index", type)}; }`
    : `fn ${name}_get(index: i32) -> vec4<${type}> { return ${quadText(name, x, "index", type)}; }`;
  return operand(name, x, { scalar, text });
}

/** Single values that a text indexes itself. */
export function singles(name: string, x: Tensor, { written = false } = {}): Operands {
  return operand(name, x, { scalar: true, written });
}

/** See {@link Vectors}: a vector is a quad. */
export const quads: Vectors = {
  rows: 1,
  columns: 4,
  lanes: 256,
  reads: 4,
  reading,
  writing,
  sums: { lanes: 256, text: reductions({ threads: 256, lanes: 1, type: "vec4<f32>" }, { over_lanes: "a + b" }) },
};
