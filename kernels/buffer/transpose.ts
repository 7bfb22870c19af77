/**
 * Transposition of the buffer backend: a workgroup turns a tile of 32 x 32 in workgroup memory, so that rows are read
 * and written 128 bytes at a time.
 * @module
 */
import type { Launch } from "../backend.ts";
import { kernel, unroll } from "../kernel.ts";
import { memoryOf, pixels, type Tensor } from "../tensor.ts";
import { access, addressSizes, port, sampleColumns } from "./layout.ts";

/** Rows and columns of a tile: one quad a thread. */
const TILE = 32;

/** See {@link Backend.transpose}. */
export function transpose(x: Tensor, out: Tensor): Launch {
  const quads = TILE / 4;
  const body = `
${access("x", x)}
${access("out", out, "read_write")}
// A row longer than there are memory banks: both the columns written and the rows read touch each bank once.
var<workgroup> tile: array<array<f32, ${TILE + 1}>, ${TILE}>;
@compute @workgroup_size(${TILE * quads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let quad = i32(thread) % ${quads};
  let row = i32(thread) / ${quads};
  let first_column = i32(group.x) * ${TILE};
  let first_channel = i32(group.y) * ${TILE};
  let sample = i32(group.z);
  let source = min(first_column / 4 + quad, size.x_sample - 1);
  let loaded = x_load(min(first_channel + row, size.channels - 1), sample * size.x_sample + source);
  let column = vec4<i32>(first_column + quad * 4) + vec4<i32>(0, 1, 2, 3);
  let value = select(vec4<f32>(), loaded, column < vec4<i32>(size.columns));
  ${unroll(4, (i) => `tile[quad * 4 + ${i}][row] = value[${i}];`)}
  workgroupBarrier();
  let target_quad = first_channel / 4 + quad;
  if (first_column + row < size.rows && target_quad < size.out_sample) {
    let turned = vec4<f32>(${Array.from({ length: 4 }, (_, i) => `tile[row][quad * 4 + ${i}]`).join(", ")});
    out_store(sample * size.rows + first_column + row, target_quad, turned);
  }
}`;
  const rows = sampleColumns(pixels(x));
  return {
    kernel: kernel({
      name: `transpose ${x.channels}x${pixels(x)}`,
      ports: [port("x", x), port("out", out, "read_write")],
      sizes: {
        ...addressSizes("x", x),
        ...addressSizes("out", out),
        channels: x.channels,
        columns: pixels(x),
        rows,
      },
      body,
      workgroups: [Math.ceil(rows / TILE), Math.ceil(x.channels / TILE), x.batch],
    }),
    memory: memoryOf(x, out),
  };
}
