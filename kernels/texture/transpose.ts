/**
 * Transposition of the texture backend: a lane turns four texels of four channels into four texels of four columns.
 * @module
 */
import type { Launch } from "../backend.ts";
import { kernel, unroll } from "../kernel.ts";
import { memoryOf, pixels, type Tensor } from "../tensor.ts";
import { addressing, addressSizes, readPort, writePort } from "./layout.ts";

const LANES = 64;
const COMPONENTS = ["x", "y", "z", "w"] as const;

/** See {@link Backend.transpose}. */
export function transpose(x: Tensor, out: Tensor): Launch {
  const rows = Math.ceil(pixels(x) / 4);
  const body = `
${addressing("x")}
${addressing("out")}
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let slice = i32(id.x);
  let column = i32(id.y) * 4;
  let sample = i32(id.z);
  if (slice >= size.slices) { return; }
  ${
    unroll(4, (i) =>
      `let t${i} = select(vec4<f32>(), textureLoad(x, x_at(slice, sample * size.columns + min(column + ${i}, size.columns - 1))), column + ${i} < size.columns);`)
  }
  ${
    unroll(4, (r) =>
      `textureStore(out, out_at(sample * size.rows + column / 4, slice * 4 + ${r}), vec4<f32>(${
        [0, 1, 2, 3].map((i) =>
          `t${i}.${COMPONENTS[r]}`
        ).join(", ")
      }));`)
  }
}`;
  return {
    kernel: kernel({
      name: `transpose ${x.channels}x${pixels(x)}`,
      ports: [readPort("x", x), writePort("out")],
      sizes: {
        ...addressSizes("x", x),
        ...addressSizes("out", out),
        slices: Math.ceil(x.channels / 4),
        columns: pixels(x),
        rows,
      },
      body,
      workgroups: [Math.ceil(x.channels / 4 / LANES), rows, x.batch],
    }),
    memory: memoryOf(x, out),
  };
}
