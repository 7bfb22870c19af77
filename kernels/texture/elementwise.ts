/**
 * Element-wise operations of the texture backend: a lane owns a texel, that is four channels of one column.
 * @module
 */
import { activationFunction } from "../activations.ts";
import type { Activation, Launch } from "../backend.ts";
import { kernel } from "../kernel.ts";
import { columns, memoryOf, type Tensor } from "../tensor.ts";
import { addressing, addressSizes, readPort, writePort } from "./layout.ts";

/** Columns of a workgroup: enough to hide its start (150 ns). */
const LANES = 64;

/** Numbers that the text of {@link elementwise} reads beside its own. */
export interface Numbers {
  readonly sizes?: Readonly<Record<string, number>>;
  readonly values?: Readonly<Record<string, number>>;
}

/** A launch that stores `value(slice, column)`, a function in `text`, everywhere in `out`. */
export function elementwise(
  name: string,
  inputs: Readonly<Record<string, Tensor>>,
  out: Tensor,
  text: string,
  numbers: Numbers = {},
): Launch {
  const tensors = { ...inputs, out };
  const body = `
${Object.keys(tensors).map(addressing).join("\n")}
${text}
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = i32(id.x);
  let slice = i32(id.y);
  if (column < size.columns) { textureStore(out, out_at(slice, column), value(slice, column)); }
}`;
  return {
    kernel: kernel({
      name: `${name} ${out.channels}x${columns(out)}`,
      ports: [...Object.entries(inputs).map(([name, x]) => readPort(name, x)), writePort("out")],
      sizes: Object.assign(
        {
          columns: columns(out),
          x_slices: Math.ceil((inputs.x?.channels ?? 0) / 4),
          out_slices: Math.ceil(out.channels / 4),
          ...numbers.sizes,
        },
        ...Object.entries(tensors).map(([name, x]) => addressSizes(name, x)),
      ),
      values: numbers.values ?? {},
      body,
      workgroups: [Math.ceil(columns(out) / LANES), Math.ceil(out.channels / 4), 1],
    }),
    memory: memoryOf(...Object.values(inputs), out),
  };
}

/** See {@link Backend.activate}. */
export function activate(x: Tensor, out: Tensor, activation: Activation): Launch {
  const gated = activation === "geglu";
  const load = (slice: string) => `textureLoad(x, x_at(${slice}, column))`;
  const result = gated
    ? `${load("slice")} * gelu(${load("slice + size.out_slices")})`
    : activation === "none"
    ? load("slice")
    : `${activation}(${load("slice")})`;
  return elementwise(
    activation,
    { x },
    out,
    `${activationFunction(activation, "vec4<f32>")}
fn value(slice: i32, column: i32) -> vec4<f32> {
  return select(vec4<f32>(), ${result}, column < size.columns);
}`,
  );
}

/** See {@link Backend.add}. */
export function add(x: Tensor, y: Tensor, out: Tensor): Launch {
  return elementwise(
    "add",
    { x, y },
    out,
    `fn value(slice: i32, column: i32) -> vec4<f32> {
  return textureLoad(x, x_at(slice, column)) + textureLoad(y, y_at(slice, column));
}`,
  );
}

/** See {@link Backend.multiply}. */
export function multiply(x: Tensor, y: Tensor, out: Tensor): Launch {
  return elementwise(
    "multiply",
    { x, y },
    out,
    `fn value(slice: i32, column: i32) -> vec4<f32> {
  return textureLoad(x, x_at(slice, column)) * textureLoad(y, y_at(slice, column));
}`,
  );
}

/**
 * See {@link Backend.concat}.
 *
 * @throws {RangeError} when the channels of `x` are not a multiple of four.
 */
export function concat(x: Tensor, y: Tensor, out: Tensor): Launch {
  if (x.channels % 4 !== 0) {
    throw new RangeError(`Channels cannot be appended after ${x.channels}, not a multiple of 4`);
  }
  return elementwise(
    "concat",
    { x, y },
    out,
    `fn value(slice: i32, column: i32) -> vec4<f32> {
  if (slice < size.x_slices) { return textureLoad(x, x_at(slice, column)); }
  return textureLoad(y, y_at(slice - size.x_slices, column));
}`,
  );
}
