/**
 * Layer normalisation of the texture backend: a lane owns a token and walks down its channels.
 * @module
 */
import type { LayerNormSpec } from "../backend.ts";
import { type Launch, launch } from "../launch.ts";
import { columns } from "../tensor.ts";
import { reading, writing } from "./layout.ts";

/**
 * See {@link Backend.layerNorm}. Variance in two passes: the one-pass form loses every digit when mean >> deviation.
 *
 * @throws {RangeError} when the channels are not a multiple of four.
 */
export function layerNorm(spec: LayerNormSpec): Launch {
  const { x, out, affine } = spec;
  if (x.channels % 4 !== 0) throw new RangeError(`Layer normalisation over ${x.channels} channels is not supported`);
  const body = `
fn total(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = min(i32(group.x * 8u + lane), size.columns - 1);
  let count = f32(size.slices * 4);
  var sum = vec4<f32>();
  for (var slice = 0; slice < size.slices; slice++) { sum += x_load(slice, column); }
  let mean = total(sum) / count;
  var squares = vec4<f32>();
  for (var slice = 0; slice < size.slices; slice++) {
    let d = x_load(slice, column) - mean;
    squares += d * d;
  }
  let scale = inverseSqrt(total(squares) / count + size.epsilon);
  for (var slice = 0; slice < size.slices; slice++) {
    let weight = affine_load(slice, 0);
    let bias = affine_load(slice, 1);
    out_store(out_at(slice, column), (x_load(slice, column) - mean) * scale * weight + bias);
  }
}`;
  return launch({
    name: `layer norm ${x.channels}x${columns(x)}`,
    operands: [reading({ x, affine }), writing({ out })],
    sizes: { columns: columns(x), slices: x.channels / 4 },
    values: { epsilon: spec.epsilon },
    body,
    workgroups: [Math.ceil(columns(x) / 8), 1, 1],
  });
}
