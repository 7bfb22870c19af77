/**
 * Memory of the buffer backend: one storage buffer a tensor, rows (channels) of columns (pixels), four columns a load.
 * Samples start at multiples of four columns; pads between them hold anything and reach no result.
 * @module
 */
import type { MatrixShape, Packed, RawWeights } from "../backend.ts";
import type { BufferPort } from "../kernel.ts";
import { type BufferLayout, pixels, type Tensor } from "../tensor.ts";
import { packValues } from "../pack.ts";

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

/** The buffer layout behind a tensor. */
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
 * Packs `[out, in, taps]` as rows of `taps x in`, columns of `out`, in the element type it came in: as operand `a` of
 * a product both operands then have the summed index outermost, and tiles are plain copies.
 */
export function pack(weights: RawWeights, float16: "f16" | "f16 pair"): Packed {
  const rows = weights.taps * weights.in;
  const layout = bufferLayout(rows, 1, weights.out, weights.data instanceof Uint16Array ? float16 : "f32");
  const { stride } = layout;
  const start = (tap: number, channel: number) => (tap * weights.in + channel) * stride;
  return { layout, data: packValues(weights, { elements: rows * stride, start, step: 1 }) };
}

/** A port of four columns an element; {@link access} converts. */
export function port(name: string, x: Tensor, access: BufferPort["access"] = "read"): BufferPort {
  return { kind: "buffer", name, access, element: TYPES[layoutOf(x).element].quad };
}

/** The sizes that {@link access} of `name` reads. */
export function addressSizes(name: string, x: Tensor): Record<string, number> {
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

/**
 * WGSL for the tensor behind port `name`: `NAME_load(row, quad) -> vec4<f32>` and, when written,
 * `NAME_store(row, quad, value)`. `quad` counts four columns; sample `b` starts at quad `b * size.NAME_sample`.
 */
export function access(name: string, x: Tensor, mode: BufferPort["access"] = "read"): string {
  const index = `(size.${name}_row + row) * size.${name}_stride + quad`;
  return [
    `fn ${name}_load(row: i32, quad: i32) -> vec4<f32> { let at = ${index}; return ${quadText(name, x, "at")}; }`,
    ...(mode === "read"
      ? []
      : [`fn ${name}_store(row: i32, quad: i32, value: vec4<f32>) { ${name}[${index}] = ${storedText(x, "value")}; }`]),
  ].join("\n");
}

/** A read port for single values, for kernels whose columns are not neighbours. */
export function scalarPort(name: string, x: Tensor): BufferPort {
  return { kind: "buffer", name, access: "read", element: TYPES[layoutOf(x).element].single };
}

/** WGSL `NAME_value(row, column) -> f32` for a {@link scalarPort}. */
export function scalarAccess(name: string, x: Tensor): string {
  return `fn ${name}_value(row: i32, column: i32) -> f32 {
  let at = (size.${name}_row + row) * size.${name}_stride * 4 + column;
  return ${singleText(name, x, "at")};
}`;
}

/**
 * WGSL `NAME_at(index)`: four columns, or one of a {@link scalarPort}, as `type`, by their place in memory, for loops
 * that step through it.
 */
export function indexAccess(
  name: string,
  x: Tensor,
  { scalar = false, type = "f32" }: { readonly scalar?: boolean; readonly type?: "f32" | "f16" } = {},
): string {
  return scalar
    ? `fn ${name}_at(index: i32) -> ${type} { return ${singleText(name, x, "index", type)}; }`
    : `fn ${name}_at(index: i32) -> vec4<${type}> { return ${quadText(name, x, "index", type)}; }`;
}

/** `count` workgroups as x and y of a launch, which takes no more than 65,535 in each: there may be a few too many. */
export function workgroupGrid(count: number): readonly [x: number, y: number, z: number] {
  const rows = Math.ceil(count / 65535);
  return [Math.ceil(count / rows), rows, 1];
}
