/**
 * FlashAttention (arXiv 2205.14135) of the buffer family: scores live in registers and workgroup memory only.
 *
 * Eight threads share eight queries: each owns eight queries by four keys of the scores, and eight queries by an
 * eighth of the channels of the output. Maxima and sums of a row cross the eight threads by subgroup shuffles.
 * Values and probabilities are stored turned, each row by its own number of quads, so that the eight threads, which
 * read eight rows of one column, meet eight different banks.
 * @module
 */
import type { AttentionSpec, Launch } from "../family.ts";
import { kernel, unroll } from "../kernel.ts";
import { pixels } from "../tensor.ts";
import { access, addressSizes, memoryOf, port } from "./layout.ts";

/** Keys of one turn. */
const KEYS = 32;

/** The most queries of a workgroup whose tiles fit, or `undefined`. */
function queriesThatFit(width: number, limit: number): number | undefined {
  const bytes = (queries: number) => 4 * (width * queries + 2 * width * KEYS + KEYS * queries);
  return [128, 64, 32].find((queries) => bytes(queries) <= limit);
}

/** Copies `quads` quads of each of `width` rows into a tile, all threads together. */
function copyTile(
  tile: string,
  source: string,
  shape: {
    width: number;
    quads: number;
    threads: number;
    first: string;
    value: (loaded: string) => string;
    at?: string;
  },
): string {
  const { width, quads, threads, first, value, at = "quad" } = shape;
  return `for (var i = t; i < ${width * quads}; i += ${threads}) {
  let row = i / ${quads};
  let quad = i % ${quads};
  let at = min(${first} + quad, size.${source}_sample - 1);
  ${tile}[row][${at}] = ${value(`${source}_load(head + row, i32(group.z) * size.${source}_sample + at)`)};
}`;
}

/** See {@link Family.flashAttention}; `limit` is the workgroup memory in bytes. Needs subgroups. */
export function flashAttention(spec: AttentionSpec, limit: number): Launch | undefined {
  const { q, k, v, out, heads } = spec;
  const width = q.channels / heads;
  const queries = queriesThatFit(width, limit);
  if (width % 8 !== 0 || !queries) return undefined;
  const threads = queries;
  const share = width / 8;
  const half = queries / 8;
  const lanes = [1, 2, 4];
  const acrossRow = (name: string, operation: (a: string, b: string) => string) =>
    lanes.map((lane) => `${name} = ${operation(name, `subgroupShuffleXor(${name}, ${lane}u)`)};`).join(" ");
  const rows = (h: number) => [0, 1, 2, 3].map((i) => 4 * h + i);
  const body = `
const NOTHING = -3.0e38;
${access("q", q)}
${access("k", k)}
${access("v", v)}
${access("out", out, "read_write")}
var<workgroup> q_tile: array<array<vec4<f32>, ${queries / 4}>, ${width}>;
var<workgroup> k_tile: array<array<vec4<f32>, ${KEYS / 4}>, ${width}>;
var<workgroup> v_tile: array<array<vec4<f32>, ${KEYS / 4}>, ${width}>;
var<workgroup> p_tile: array<array<vec4<f32>, ${queries / 4}>, ${KEYS}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  let y = t / 8;
  let x = t % 8;
  let head = i32(group.y) * ${width};
  let first_quad = i32(group.x) * ${queries / 4};
  ${
    copyTile("q_tile", "q", {
      width,
      quads: queries / 4,
      threads,
      first: "first_quad",
      value: (loaded) => `${loaded} * size.scale`,
    })
  }
  ${unroll(share, (c) => `var o${c}_0 = vec4<f32>(); var o${c}_1 = vec4<f32>();`)}
  ${unroll(2, (h) => `var maximum${h} = vec4<f32>(NOTHING); var sum${h} = vec4<f32>();`)}
  for (var key = 0; key < size.keys; key += ${KEYS}) {
    ${
    copyTile("k_tile", "k", {
      width,
      quads: KEYS / 4,
      threads,
      first: "key / 4",
      value: (loaded) => loaded,
    })
  }
    ${
    copyTile("v_tile", "v", {
      width,
      quads: KEYS / 4,
      threads,
      first: "key / 4",
      value: (loaded) =>
        `select(vec4<f32>(), ${loaded}, vec4<i32>(key + quad * 4) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(size.keys))`,
      at: "(quad + row) & 7",
    })
  }
    workgroupBarrier();
    ${unroll(8, (r) => `var s${r} = vec4<f32>();`)}
    ${
    unroll(width, (c) =>
      `{ let q0 = q_tile[${c}][y]; let q1 = q_tile[${c}][y + ${half}]; let keys = k_tile[${c}][x];
${unroll(8, (r) => `s${r} = fma(vec4<f32>(q${r >> 2}[${r & 3}]), keys, s${r});`)} }`)
  }
    let known = vec4<i32>(key + x * 4) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(size.keys);
    ${unroll(8, (r) => `s${r} = select(vec4<f32>(NOTHING), s${r}, known);`)}
    ${
    unroll(2, (h) =>
      `var top${h} = vec4<f32>(${
        rows(h).map((r) => `max(max(s${r}.x, s${r}.y), max(s${r}.z, s${r}.w))`).join(", ")
      });
${acrossRow(`top${h}`, (a, b) => `max(${a}, ${b})`)}
top${h} = max(top${h}, maximum${h});
let keep${h} = exp2(maximum${h} - top${h});
maximum${h} = top${h};`)
  }
    ${unroll(8, (r) => `s${r} = exp2(s${r} - vec4<f32>(maximum${r >> 2}[${r & 3}]));`)}
    ${
    unroll(2, (h) =>
      `var turn${h} = vec4<f32>(${
        rows(h).map((r) => `(s${r}.x + s${r}.y) + (s${r}.z + s${r}.w)`).join(", ")
      });
${acrossRow(`turn${h}`, (a, b) => `${a} + ${b}`)}
sum${h} = sum${h} * keep${h} + turn${h};`)
  }
    let turned = (y + 4 * x) & ${half - 1};
    ${
    unroll(4, (i) =>
      unroll(2, (h) =>
        `p_tile[x * 4 + ${i}][turned + ${h * half}] = vec4<f32>(${
          rows(h).map((r) =>
            `s${r}[${i}]`
          ).join(", ")
        });`))
  }
    workgroupBarrier();
    ${unroll(share, (c) => `o${c}_0 *= keep0; o${c}_1 *= keep1;`)}
    ${
    unroll(KEYS / 4, (j) =>
      `{ let row = (y + ${4 * j}) & ${half - 1}; let quad = (x + ${j}) & 7;
${unroll(4, (i) => `let p${i}_0 = p_tile[${4 * j + i}][row]; let p${i}_1 = p_tile[${4 * j + i}][row + ${half}];`)}
${
        unroll(share, (c) =>
          `{ let values = v_tile[x + ${8 * c}][quad];
${
            unroll(
              4,
              (i) =>
                `o${c}_0 = fma(p${i}_0, vec4<f32>(values[${i}]), o${c}_0); o${c}_1 = fma(p${i}_1, vec4<f32>(values[${i}]), o${c}_1);`,
            )
          } }`)
      } }`)
  }
    workgroupBarrier();
  }
  ${
    unroll(2, (h) =>
      `if (first_quad + y + ${h * half} < size.q_sample) {
  let quad = i32(group.z) * size.out_sample + first_quad + y + ${h * half};
${unroll(share, (c) => `  out_store(head + x + ${8 * c}, quad, o${c}_${h} / sum${h});`)}
}`)
  }
}`;
  return {
    kernel: kernel({
      name: `flash attention ${width} ${pixels(q)}x${pixels(k)}`,
      ports: [port("q", q), port("k", k), port("v", v), port("out", out, "read_write")],
      sizes: {
        ...addressSizes("q", q),
        ...addressSizes("k", k),
        ...addressSizes("v", v),
        ...addressSizes("out", out),
        keys: pixels(k),
      },
      // Scores in units of log2: exp2 is cheaper than exp.
      values: { scale: Math.LOG2E / Math.sqrt(width) },
      body,
      workgroups: [Math.ceil(pixels(q) / queries), heads, q.batch],
    }),
    memory: memoryOf(q, k, v, out),
  };
}
