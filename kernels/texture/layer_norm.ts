/**
 * Layer normalisation of the texture backend: a lane owns a token and walks down its channels.
 * @module
 */
import type { Launch, LayerNormSpec } from "../backend.ts";
import { kernel } from "../kernel.ts";
import { columns, memoryOf } from "../tensor.ts";
import { addressing, addressSizes, readPort, writePort } from "./layout.ts";

/**
 * See {@link Backend.layerNorm}. Variance in two passes: the one-pass form loses every digit when mean >> deviation.
 *
 * @throws {RangeError} when the channels are not a multiple of four.
 */
export function layerNorm(spec: LayerNormSpec): Launch {
  const { x, out, affine } = spec;
  if (x.channels % 4 !== 0) throw new RangeError(`Layer normalisation over ${x.channels} channels is not supported`);
  const body = `
${addressing("x")}
${addressing("out")}
${addressing("affine")}
fn value(slice: i32, column: i32) -> vec4<f32> { return textureLoad(x, x_at(slice, column)); }
fn total(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = min(i32(group.x * 8u + lane), size.columns - 1);
  let count = f32(size.slices * 4);
  var sum = vec4<f32>();
  for (var slice = 0; slice < size.slices; slice++) { sum += value(slice, column); }
  let mean = total(sum) / count;
  var squares = vec4<f32>();
  for (var slice = 0; slice < size.slices; slice++) {
    let d = value(slice, column) - mean;
    squares += d * d;
  }
  let scale = inverseSqrt(total(squares) / count + size.epsilon);
  for (var slice = 0; slice < size.slices; slice++) {
    let weight = textureLoad(affine, affine_at(slice, 0));
    let bias = textureLoad(affine, affine_at(slice, 1));
    textureStore(out, out_at(slice, column), (value(slice, column) - mean) * scale * weight + bias);
  }
}`;
  return {
    kernel: kernel({
      name: `layer norm ${x.channels}x${columns(x)}`,
      ports: [readPort("x", x), writePort("out"), readPort("affine", affine)],
      sizes: {
        ...addressSizes("x", x),
        ...addressSizes("out", out),
        ...addressSizes("affine", affine),
        columns: columns(x),
        slices: x.channels / 4,
      },
      values: { epsilon: spec.epsilon },
      body,
      workgroups: [Math.ceil(columns(x) / 8), 1, 1],
    }),
    memory: memoryOf(x, out, affine),
  };
}
