/**
 * Layer normalisation of the buffer backend: a thread owns four columns and some of their channels, so that few
 * columns of many channels keep the GPU busy too.
 * @module
 */
import type { LayerNormSpec } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch } from "../launch.ts";
import { columns, pixels } from "../tensor.ts";
import { reading, sampleColumns, writing } from "./layout.ts";
import { reductions } from "./reduction.ts";

const THREADS = 256;

/** Quads of columns of a workgroup: whole sectors of a cache line where there are many, more workgroups where not. */
function quadsOfWorkgroup(quads: number): number {
  return quads >= 1024 ? 4 : 1;
}

/** Channels a thread has on their way at once. */
const READS = 4;

/** See {@link Backend.layerNorm}. Variance in two passes: the one-pass form loses every digit when mean >> deviation. */
export function layerNorm(spec: LayerNormSpec): Launch {
  const { x, out, affine, epsilon } = spec;
  const quads = x.batch * sampleColumns(pixels(x)) / 4;
  const lanes = quadsOfWorkgroup(quads);
  const parts = THREADS / lanes;
  const terms = (term: (i: number) => string) => Array.from({ length: READS }, (_, i) => term(i)).join(" + ");
  const eachRow = (text: string) =>
    `for (var first = part; first < size.rows; first += ${READS * parts}) {\n${text}\n}`;
  const loads = unroll(
    READS,
    (i) => `let row${i} = first + ${i * parts}; let v${i} = x_load(min(row${i}, size.rows - 1), quad);`,
  );
  const known = (i: number, value: string) => `select(vec4<f32>(), ${value}, row${i} < size.rows)`;
  const body = `
${reductions({ threads: THREADS, lanes, type: "vec4<f32>" }, { total: "a + b" })}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  let part = t / ${lanes};
  let wanted = i32(group.x) * ${lanes} + t % ${lanes};
  let quad = min(wanted, size.quads - 1);
  var sum = vec4<f32>();
  ${eachRow(`${loads}\nsum += ${terms((i) => known(i, `v${i}`))};`)}
  let mean = total(sum, t) / f32(size.rows);
  var squares = vec4<f32>();
  ${
    eachRow(`${loads}
${unroll(READS, (i) => `let d${i} = ${known(i, `v${i} - mean`)};`)}
squares += ${terms((i) => `d${i} * d${i}`)};`)
  }
  let scale = inverseSqrt(total(squares, t) / f32(size.rows) + size.epsilon);
  if (wanted >= size.quads) { return; }
  ${
    eachRow(`${loads}
${
      unroll(READS, (i) =>
        `if (row${i} < size.rows) {
  let parameters = affine_load(row${i}, 0);
  out_store(out_at(row${i}, quad), (v${i} - mean) * scale * parameters.x + parameters.y);
}`)
    }`)
  }
}`;
  return launch({
    name: `layer norm ${x.channels}x${columns(x)}`,
    operands: [reading({ x, affine }), writing({ out })],
    sizes: { rows: x.channels, quads },
    values: { epsilon },
    body,
    workgroups: [Math.ceil(quads / lanes), 1, 1],
  });
}
