/**
 * Softmax of the buffer backend: a thread owns four queries and some of their keys; maxima and sums meet in workgroup
 * memory.
 * @module
 */
import type { SoftmaxSpec } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch } from "../launch.ts";
import { columns } from "../tensor.ts";
import { reading, sampleColumns, writing } from "./layout.ts";
import { reductions } from "./reduction.ts";

/** Quads of queries of a workgroup: 128 bytes of a row, a cache line. */
const QUADS = 8;

/** Threads that share the keys of a quad. */
const PARTS = 32;

/** Keys a thread has on their way at once. */
const READS = 4;

/** Statements for every key of a thread; `text(i)` may use `key{i}` and its scaled scores `s{i}`. */
function eachKey(text: string): string {
  const loads = unroll(READS, (i) => `let key${i} = first + ${i * PARTS}; let s${i} = score(key${i}, quad, last);`);
  return `for (var first = t / ${QUADS}; first < size.padded_keys; first += ${READS * PARTS}) {\n${loads}\n${text}\n}`;
}

function build(spec: SoftmaxSpec, name: string, output: string): Launch {
  const { scores, out } = spec;
  const quads = sampleColumns(columns(scores)) / 4;
  const powers = Array.from({ length: READS }, (_, i) => `exp(s${i} - top)`).join(" + ");
  const body = `
const NOTHING = -3.0e38;
${reductions({ threads: QUADS * PARTS, lanes: QUADS, type: "vec4<f32>" }, { highest: "max(a, b)", total: "a + b" })}
var<private> first_row: i32;
/** Scaled scores of one key; a key past the end or, when causal, past the query counts as nothing. */
fn score(key: i32, quad: i32, last: vec4<i32>) -> vec4<f32> {
  let value = scores_load(first_row + min(key, size.padded_keys - 1), quad) * size.scale;
  return select(vec4<f32>(NOTHING), value, vec4<i32>(key) <= last);
}
@compute @workgroup_size(${QUADS * PARTS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  first_row = i32(group.y) * size.padded_keys;
  let wanted = i32(group.x) * ${QUADS} + t % ${QUADS};
  let quad = min(wanted, size.quads - 1);
  let query = vec4<i32>(quad * 4) + vec4<i32>(0, 1, 2, 3);
  let last = min(select(vec4<i32>(size.keys), query, size.causal != 0), vec4<i32>(size.keys - 1));
  var maximum = vec4<f32>(NOTHING);
  ${eachKey(unroll(READS, (i) => `maximum = max(maximum, s${i});`))}
  let top = highest(maximum, t);
  var sums = vec4<f32>();
  ${eachKey(`sums += ${powers};`)}
  let sum = total(sums, t);
  if (wanted >= size.quads) { return; }
  ${output}
}`;
  return launch({
    name: `${name} ${spec.keys}x${columns(scores)}`,
    operands: [reading({ scores }), writing({ out })],
    sizes: { quads, keys: spec.keys, padded_keys: spec.paddedKeys, causal: spec.causal ? 1 : 0 },
    values: { scale: spec.scale },
    body,
    workgroups: [Math.ceil(quads / QUADS), spec.count, 1],
  });
}

/** See {@link Backend.softmax}. */
export function softmax(spec: SoftmaxSpec): Launch {
  return build(
    spec,
    "softmax",
    eachKey(
      unroll(
        READS,
        (i) =>
          `if (key${i} < size.padded_keys) { out_store(out_at(first_row + key${i}, quad), exp(s${i} - top) / sum); }`,
      ),
    ),
  );
}

/** See {@link Backend.softmaxRows}. Each softmax has four rows of `out`; the first two are written. */
export function softmaxRows(spec: SoftmaxSpec): Launch {
  return build(
    spec,
    "softmax rows",
    `if (t < ${QUADS}) {
    out_store(out_at(i32(group.y) * 4, quad), top);
    out_store(out_at(i32(group.y) * 4 + 1, quad), sum);
  }`,
  );
}
