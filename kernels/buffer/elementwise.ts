/**
 * Element-wise operations of the buffer backend: a thread owns four quads of the result, counted row by row.
 * @module
 */
import { activationFunction } from "../activations.ts";
import type { Activation, Launch } from "../backend.ts";
import { kernel, unroll } from "../kernel.ts";
import { columns, memoryOf, pixels, type Tensor } from "../tensor.ts";
import { access, addressSizes, port, sampleColumns, workgroupGrid } from "./layout.ts";

const THREADS = 256;

/** Quads of a thread, all read before the first is written: memory is the limit, and it answers late. */
const READS = 4;

/** Numbers that the text of {@link elementwise} reads beside its own. */
export interface Numbers {
  readonly sizes?: Readonly<Record<string, number>>;
  readonly values?: Readonly<Record<string, number>>;
}

/** A launch that stores `value(row, quad)`, a function in `text`, everywhere in `out`. */
export function elementwise(
  name: string,
  inputs: Readonly<Record<string, Tensor>>,
  out: Tensor,
  text: string,
  numbers: Numbers = {},
): Launch {
  const rowQuads = out.batch * sampleColumns(pixels(out)) / 4;
  const quads = out.channels * rowQuads;
  const body = `
${Object.entries(inputs).map(([name, x]) => access(name, x)).join("\n")}
${access("out", out, "read_write")}
${text}
@compute @workgroup_size(${THREADS})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let first = i32(group.y * groups.x + group.x) * ${READS * THREADS} + i32(thread);
  ${
    unroll(READS, (i) =>
      `let i${i} = first + ${i * THREADS};
  let at${i} = min(i${i}, size.quads - 1);
  let v${i} = value(at${i} / size.row_quads, at${i} % size.row_quads);`)
  }
  ${
    unroll(READS, (i) =>
      `if (i${i} < size.quads) { out_store(i${i} / size.row_quads, i${i} % size.row_quads, v${i}); }`)
  }
}`;
  return {
    kernel: kernel({
      name: `${name} ${out.channels}x${columns(out)}`,
      ports: [...Object.entries(inputs).map(([name, x]) => port(name, x)), port("out", out, "read_write")],
      sizes: Object.assign(
        { row_quads: rowQuads, quads, x_rows: inputs.x?.channels ?? 0, out_rows: out.channels, ...numbers.sizes },
        ...Object.entries({ ...inputs, out }).map(([name, x]) => addressSizes(name, x)),
      ),
      values: numbers.values ?? {},
      body,
      workgroups: workgroupGrid(Math.ceil(quads / (READS * THREADS))),
    }),
    memory: memoryOf(...Object.values(inputs), out),
  };
}

/** See {@link Backend.activate}. */
export function activate(x: Tensor, out: Tensor, activation: Activation): Launch {
  const value = "x_load(row, quad)";
  const result = activation === "geglu"
    ? `${value} * gelu(x_load(row + size.out_rows, quad))`
    : activation === "none"
    ? value
    : `${activation}(${value})`;
  return elementwise(
    activation,
    { x },
    out,
    `${activationFunction(activation, "vec4<f32>")}
fn value(row: i32, quad: i32) -> vec4<f32> { return ${result}; }`,
  );
}

/** See {@link Backend.add}. */
export function add(x: Tensor, y: Tensor, out: Tensor): Launch {
  return elementwise(
    "add",
    { x, y },
    out,
    "fn value(row: i32, quad: i32) -> vec4<f32> { return x_load(row, quad) + y_load(row, quad); }",
  );
}

/** See {@link Backend.multiply}. */
export function multiply(x: Tensor, y: Tensor, out: Tensor): Launch {
  return elementwise(
    "multiply",
    { x, y },
    out,
    "fn value(row: i32, quad: i32) -> vec4<f32> { return x_load(row, quad) * y_load(row, quad); }",
  );
}

/** See {@link Backend.concat}. */
export function concat(x: Tensor, y: Tensor, out: Tensor): Launch {
  return elementwise(
    "concat",
    { x, y },
    out,
    `fn value(row: i32, quad: i32) -> vec4<f32> {
  if (row < size.x_rows) { return x_load(row, quad); }
  return y_load(row - size.x_rows, quad);
}`,
  );
}
