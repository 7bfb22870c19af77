/**
 * Softmax of the texture backend. Lanes are queries, so a softmax never crosses lanes: each lane walks down the keys
 * of its own query, four to a texel.
 * @module
 */
import type { SoftmaxSpec } from "../backend.ts";
import { type Launch, launch } from "../launch.ts";
import { columns } from "../tensor.ts";
import { reading, writing } from "./layout.ts";

const QUERY_TEXT = `
const NOTHING = -3.0e38;
/** Scaled scores of four keys; keys past the end or, when causal, past the query count as nothing. */
fn score(slice: i32, query: i32, last: i32) -> vec4<f32> {
  let key = vec4<i32>(slice * 4) + vec4<i32>(0, 1, 2, 3);
  let value = scores_load(i32(softmax_index) * size.slices + slice, query) * size.scale;
  return select(vec4<f32>(NOTHING), value, key <= vec4<i32>(last));
}
fn highest(v: vec4<f32>) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn total(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }
var<private> softmax_index: u32;`;

function build(spec: SoftmaxSpec, name: string, output: string): Launch {
  const body = `
${QUERY_TEXT}
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  softmax_index = group.y;
  let query = min(i32(group.x * 8u + lane), size.queries - 1);
  let last = select(size.keys - 1, min(query, size.keys - 1), size.causal != 0);
  var maximum = vec4<f32>(NOTHING);
  for (var slice = 0; slice < size.slices; slice++) { maximum = max(maximum, score(slice, query, last)); }
  let top = highest(maximum);
  var sums = vec4<f32>();
  for (var slice = 0; slice < size.slices; slice++) { sums += exp(score(slice, query, last) - top); }
  let sum = total(sums);
  ${output}
}`;
  return launch({
    name: `${name} ${spec.keys}x${columns(spec.scores)}`,
    operands: [reading({ scores: spec.scores }), writing({ out: spec.out })],
    sizes: {
      queries: columns(spec.scores),
      keys: spec.keys,
      slices: spec.paddedKeys / 4,
      causal: spec.causal ? 1 : 0,
    },
    values: { scale: spec.scale },
    body,
    workgroups: [Math.ceil(columns(spec.scores) / 8), spec.count, 1],
  });
}

/** See {@link Backend.softmax}. */
export function softmax(spec: SoftmaxSpec): Launch {
  return build(
    spec,
    "softmax",
    `for (var slice = 0; slice < size.slices; slice++) {
    let value = exp(score(slice, query, last) - top) / sum;
    out_store(out_at(i32(group.y) * size.slices + slice, query), value);
  }`,
  );
}

/** See {@link Backend.softmaxRows}. */
export function softmaxRows(spec: SoftmaxSpec): Launch {
  return build(
    spec,
    "softmax rows",
    `out_store(out_at(i32(group.y), query), select(vec4<f32>(), vec4<f32>(top, sum, 0.0, 0.0), size.slices > 0));`,
  );
}
