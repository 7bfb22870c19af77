/**
 * FlashAttention (arXiv 2205.14135) of the texture backend: scores live in registers, the softmax is online.
 *
 * Lanes are queries, up to four a lane as the components of a vec4: maximum, exponential and sum need no cross-lane
 * step. Each turn reads 8 keys, one a lane, and hands them round by broadcasts.
 * @module
 */
import type { AttentionSpec } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch } from "../launch.ts";
import { pixels } from "../tensor.ts";
import { reading, writing } from "./layout.ts";

/** Keys of one turn: one a lane. */
const KEYS = 8;

/** Widest head that is held in registers (which live on llvmpipe's stack: 64 wide is 8 KiB of queries, 8 of outputs). */
const WIDEST_HEAD = 64;

const COMPONENTS = ["x", "y", "z", "w"] as const;

/** `sum_i left(i)`, four at a time: longer chains make LLVM spill. */
function chained(count: number, term: (i: number) => string): string {
  const quads = Array.from({ length: count / 4 }, (_, q) => [0, 1, 2, 3].map((i) => term(4 * q + i)).join(" + "));
  return quads.map((quad) => `(${quad})`).join(" + ");
}

/** Whether heads are whole texels, and no wider than can be held. */
export function fitsFlash({ q, heads }: AttentionSpec): boolean {
  const width = q.channels / heads;
  return width % 4 === 0 && width <= WIDEST_HEAD;
}

/** See {@link Backend.flashAttention}. */
export function flashAttention(spec: AttentionSpec): Launch {
  const { q, k, v, out, heads } = spec;
  const width = q.channels / heads;
  const slices = width / 4;
  const body = `
const NOTHING = -3.0e38;
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let l = i32(lane);
  let head = i32(group.y) * ${slices};
  let first_query = i32(group.z) * size.queries;
  let first_key = i32(group.z) * size.keys;
  ${unroll(4, (i) => `let n${i} = i32(group.x) * 32 + ${i * 8} + l;`)}
  ${
    unroll(slices, (c) =>
      `${
        unroll(4, (i) =>
          `let q${c}_${i} = q_load(head + ${c}, first_query + min(n${i}, size.queries - 1)) * size.scale;`)
      }
${
        unroll(4, (i) =>
          `let q${4 * c + i} = vec4<f32>(${
            [0, 1, 2, 3].map((n) =>
              `q${c}_${n}.${COMPONENTS[i]}`
            ).join(", ")
          });`)
      }`)
  }
  ${unroll(width, (c) => `var o${c} = vec4<f32>();`)}
  var maximum = vec4<f32>(NOTHING);
  var sum = vec4<f32>();
  for (var key = 0; key < size.keys; key += ${KEYS}) {
    let mine = first_key + min(key + l, size.keys - 1);
    ${unroll(slices, (c) => `let k${c} = k_load(head + ${c}, mine); let v${c} = v_load(head + ${c}, mine);`)}
    ${
    unroll(KEYS, (j) =>
      `let s${j} = select(vec4<f32>(NOTHING), ${
        chained(width, (c) =>
          `q${c} * subgroupBroadcast(k${c >> 2}.${COMPONENTS[c & 3]}, ${j}u)`)
      }, key + ${j} < size.keys);`)
  }
    let turn_maximum = max(max(max(s0, s1), max(s2, s3)), max(max(s4, s5), max(s6, s7)));
    let new_maximum = max(maximum, turn_maximum);
    let keep = exp2(maximum - new_maximum);
    maximum = new_maximum;
    ${unroll(KEYS, (j) => `let p${j} = exp2(s${j} - new_maximum);`)}
    sum = sum * keep + (((p0 + p1) + (p2 + p3)) + ((p4 + p5) + (p6 + p7)));
    ${
    unroll(width, (c) =>
      `o${c} = o${c} * keep + ${
        chained(KEYS, (j) =>
          `p${j} * subgroupBroadcast(v${c >> 2}.${COMPONENTS[c & 3]}, ${j}u)`)
      };`)
  }
  }
  ${
    unroll(4, (i) =>
      `if (n${i} < size.queries) {
${
        unroll(slices, (c) =>
          `out_store(out_at(head + ${c}, first_query + n${i}), select(vec4<f32>(), vec4<f32>(${
            [0, 1, 2, 3].map((r) => `o${4 * c + r}.${COMPONENTS[i]}`).join(", ")
          }) / sum.${COMPONENTS[i]}, n${i} < size.queries));`)
      }
}`)
  }
}`;
  return launch({
    name: `flash attention ${width} ${pixels(q)}x${pixels(k)}`,
    operands: [reading({ q, k, v }), writing({ out })],
    sizes: { queries: pixels(q), keys: pixels(k) },
    // Scores in units of log2: exp2 is cheaper than exp.
    values: { scale: Math.LOG2E / Math.sqrt(width) },
    body,
    workgroups: [Math.ceil(pixels(q) / 32), heads, q.batch],
  });
}
