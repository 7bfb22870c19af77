/**
 * Operations that read and write each value once, of every backend.
 * @module
 */
import type { Activation, Backend, Epilogue, ValueFunction } from "./backend.ts";
import { unroll } from "./kernel.ts";
import { type Launch, launch } from "./launch.ts";
import { columns, pixels, type Tensor } from "./tensor.ts";

/**
 * WGSL of the element-wise functions, for any of f32 and its vectors, `T`. `gelu` uses the error function of Abramowitz
 * and Stegun 7.1.26 (absolute error 1.5e-7: below f32's own at this size), because WGSL has none. `relu` keeps NaN, which
 * `max` may lose; `leaky_relu` has ESRGAN's slope of 0.2. `soft_clamp` is 3 tanh(x / 3), whose exponentials may overflow
 * without harm; `to_unit` takes -1 to 1 to 0 to 1, and `from_unit` back.
 */
const FUNCTIONS: Readonly<Record<ValueFunction, string>> = {
  silu: `fn silu(x: T) -> T { return x / (1.0 + exp(-x)); }`,
  quick_gelu: `fn quick_gelu(x: T) -> T { return x / (1.0 + exp(-1.702 * x)); }`,
  gelu: `fn gelu(x: T) -> T {
  let z = abs(x) * 0.70710678;
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let erf = sign(x) * (1.0 - tail * exp(-z * z));
  return 0.5 * x * (1.0 + erf);
}`,
  relu: `fn relu(x: T) -> T { return select(x, T(), x < T()); }`,
  leaky_relu: `fn leaky_relu(x: T) -> T { return select(x, 0.2 * x, x < T()); }`,
  soft_clamp: `fn soft_clamp(x: T) -> T { return 3.0 - 6.0 / (exp(x / 1.5) + 1.0); }`,
  to_unit: `fn to_unit(x: T) -> T { return 0.5 * x + 0.5; }`,
  from_unit: `fn from_unit(x: T) -> T { return 2.0 * x - 1.0; }`,
};

/** The WGSL function that `activation` needs, of WGSL type `type`; nothing for `none`. */
export function activationFunction(activation: Activation, type: string): string {
  if (activation === "none") return "";
  return FUNCTIONS[activation === "geglu" ? "gelu" : activation].replaceAll("T", type);
}

/** WGSL of `sum` activated by `apply` with `plus` added, if there is any: after the activation or before it. */
export function addPlus(
  { plusFirst }: Pick<Epilogue, "plusFirst">,
  { sum, plus, apply }: { readonly sum: string; readonly plus?: string; readonly apply: (value: string) => string },
): string {
  if (plus === undefined) return apply(sum);
  return plusFirst ? apply(`${sum} + ${plus}`) : `${apply(sum)} + ${plus}`;
}

/** Rows and columns of vectors in a sample of `x`. */
export function extentOf({ vectors, sampleColumns }: Backend, x: Tensor): { rows: number; columns: number } {
  return { rows: Math.ceil(x.channels / vectors.rows), columns: sampleColumns(pixels(x)) / vectors.columns };
}

export interface ElementwiseSpec {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly out: Tensor;
  /** WGSL `value(row, column) -> vec4<f32>` in terms of `NAME_load`. */
  readonly text: string;
  readonly sizes?: Readonly<Record<string, number>>;
  readonly values?: Readonly<Record<string, number>>;
}

/**
 * Stores `value(row, column)` everywhere in `out`. A lane owns a few vectors below each other, all read before the first
 * is written: memory is the limit, and it answers late.
 */
export function elementwise(backend: Backend, { name, inputs, out, text, sizes, values }: ElementwiseSpec): Launch {
  const { vectors } = backend;
  const { lanes, reads } = vectors;
  const { rows, columns: sample } = extentOf(backend, out);
  const count = out.batch * sample;
  // As many lanes along a row as it has vectors, the others below.
  const across = Math.min(lanes, 2 ** Math.ceil(Math.log2(count)));
  const below = lanes / across;
  return launch({
    name: `${name} ${out.channels}x${columns(out)}`,
    operands: [vectors.reading(inputs), vectors.writing({ out })],
    sizes: { rows, columns: count, across_shift: Math.log2(across), below, ...sizes },
    values: values ?? {},
    body: `
${text}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = i32((group.x << u32(size.across_shift)) + (lane & ((1u << u32(size.across_shift)) - 1u)));
  let first_row = i32(group.y) * ${reads} * size.below + i32(lane >> u32(size.across_shift));
  ${
      unroll(reads, (i) =>
        `let row${i} = first_row + ${i} * size.below;
  let at${i} = out_at(row${i}, column);
  let value${i} = value(row${i}, column);`)
    }
  ${unroll(reads, (i) => `if (row${i} < size.rows && column < size.columns) { out_store(at${i}, value${i}); }`)}
}`,
    workgroups: [Math.ceil(count / across), Math.ceil(rows / (below * reads)), 1],
  });
}

/** `out = x`, between any two element types. */
export function copy(backend: Backend, x: Tensor, out: Tensor): Launch {
  const text = "fn value(row: i32, column: i32) -> vec4<f32> { return x_load(row, column); }";
  return elementwise(backend, { name: "copy", inputs: { x }, out, text });
}

/** `out = f(x)`, value by value. */
export function activate(backend: Backend, x: Tensor, out: Tensor, f: ValueFunction): Launch {
  const text = `${activationFunction(f, "vec4<f32>")}
fn value(row: i32, column: i32) -> vec4<f32> { return ${f}(x_load(row, column)); }`;
  return elementwise(backend, { name: f, inputs: { x }, out, text });
}

/** `out = scale x + y`, value by value. */
export function addScaled(
  backend: Backend,
  { scale, out, ...inputs }: { readonly x: Tensor; readonly y: Tensor; readonly scale: number; readonly out: Tensor },
): Launch {
  const text = `fn value(row: i32, column: i32) -> vec4<f32> {
  return size.scale * x_load(row, column) + y_load(row, column);
}`;
  return elementwise(backend, { name: "add scaled", inputs, out, text, values: { scale } });
}

/**
 * The channels of `x`, then those of `y`.
 *
 * @throws {RangeError} when the channels of `x` are not whole vectors.
 */
export function concat(
  backend: Backend,
  { x, y, out }: { readonly x: Tensor; readonly y: Tensor; readonly out: Tensor },
) {
  const { rows } = backend.vectors;
  if (x.channels % rows !== 0) {
    throw new RangeError(`Channels cannot be appended after ${x.channels}, not a multiple of ${rows}`);
  }
  const text = `fn value(row: i32, column: i32) -> vec4<f32> {
  if (row < size.x_rows) { return x_load(row, column); }
  return y_load(row - size.x_rows, column);
}`;
  return elementwise(backend, { name: "concat", inputs: { x, y }, out, text, sizes: { x_rows: x.channels / rows } });
}

/** Blocks of a transposition along each side of a workgroup, whose lanes then read and write 128 bytes of a row at a time. */
const BLOCKS = 8;

/** `x [batch, channels, columns]` to `out [batch x padded columns, channels]`, pads 0: a lane turns a block of 4 x 4. */
export function transpose(backend: Backend, x: Tensor, out: Tensor): Launch {
  const { vectors } = backend;
  const inTexels = vectors.rows === 4;
  /** The vectors of a block are four columns of a row of texels, or four rows of a column of quads. */
  const row = (block: string, i: number) => inTexels ? block : `(${block}) * 4 + ${i}`;
  const column = (block: string, i: number) => inTexels ? `(${block}) * 4 + ${i}` : block;
  const { rows, columns: sample } = extentOf(backend, x);
  const [blockRows, blockColumns] = [Math.ceil(x.channels / 4), Math.ceil(pixels(x) / 4)];
  return launch({
    name: `transpose ${x.channels}x${pixels(x)}`,
    operands: [vectors.reading({ x }), vectors.writing({ out })],
    sizes: { rows, sample, columns: pixels(x), block_rows: blockRows, block_columns: blockColumns },
    body: `
@compute @workgroup_size(${BLOCKS * BLOCKS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let c = i32(group.x) * ${BLOCKS} + i32(lane) / ${BLOCKS};
  let r = i32(group.y) * ${BLOCKS} + i32(lane) % ${BLOCKS};
  let sample = i32(group.z);
  if (c >= size.block_columns || r >= size.block_rows) { return; }
  ${
      unroll(4, (i) =>
        `let x${i} = x_load(min(${row("r", i)}, size.rows - 1), sample * size.sample + min(${
          column("c", i)
        }, size.sample - 1));
  let known${i} = vec4<i32>(c * 4) + ${
          inTexels ? `vec4<i32>(${i})` : "vec4<i32>(0, 1, 2, 3)"
        } < vec4<i32>(size.columns);
  let t${i} = select(vec4<f32>(), x${i}, known${i});`)
    }
  ${
      unroll(4, (i) =>
        `out_store(out_at(${row("sample * size.block_columns + c", i)}, ${column("r", i)}), vec4<f32>(${
          [0, 1, 2, 3].map((j) =>
            `t${j}[${i}]`
          ).join(", ")
        }));`)
    }
}`,
    workgroups: [Math.ceil(blockColumns / BLOCKS), Math.ceil(blockRows / BLOCKS), x.batch],
  });
}
