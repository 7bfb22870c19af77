/**
 * FlashAttention (arXiv 2205.14135) of the buffer backend: scores live in registers and workgroup memory only.
 *
 * Eight threads share some rows of queries: each owns those queries by four keys of the scores, and those queries by
 * an eighth of the channels of the output. Maxima and sums of a row cross the eight threads by subgroup shuffles.
 * Values and probabilities are stored turned, each row by its own number of quads, so that the eight threads, which
 * read eight rows of one column, meet eight different banks.
 * @module
 */
import type { AttentionSpec } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch } from "../launch.ts";
import { pixels } from "../tensor.ts";
import { reading, writing } from "./layout.ts";

/** Keys of one turn. */
const KEYS = 32;

/** Threads that share a row of scores. Four, each with twice the keys and channels, were half as fast (H100). */
const LANES = 8;

/** Quads of queries of a thread. Four were 30 % slower (H100). */
const QUADS = 2;

/** Channels whose products, with keys or with probabilities, are one function. */
const GROUP = 4;

/** How attention is cut into workgroups. */
export interface FlashTile {
  /** Queries of a workgroup. */
  readonly queries: number;
  /** Whether tiles and products are float16; maxima, sums and the output's sums over turns stay float32. */
  readonly half: boolean;
}

/** Bytes of the tiles of queries, keys, values and probabilities. */
function tileBytes(width: number, { queries, half }: FlashTile): number {
  return (half ? 2 : 4) * (width * queries + 2 * width * KEYS + KEYS * queries);
}

/**
 * The largest tile that fits. Below 128 queries too few share each key: scores in memory are then three times faster
 * (H100, heads 160 wide, and 80 wide in float32).
 */
export function chooseFlashTile(width: number, limit: number, half: boolean): FlashTile | undefined {
  const tiles = [256, 128].map((queries): FlashTile => ({ queries, half }));
  return tiles.find((tile) => tileBytes(width, tile) <= limit && tile.queries <= (half ? 256 : 128));
}

/**
 * Where the quads of queries lie. In float32 a thread's are `count` apart, so that neighbouring threads meet different
 * banks; in float16 they are one piece, since 16 bytes are one load.
 */
function queryPlaces({ queries, half }: FlashTile) {
  /** Threads along the queries. */
  const count = queries / 4 / QUADS;
  return {
    count,
    /** A row of a tile. */
    row: half ? `array<array<V, ${QUADS}>, ${count}>` : `array<V, ${QUADS * count}>`,
    /** Quad `h` of the thread at `place` in a row of a tile. */
    inRow: (place: string, h: number) => half ? `[${place}][${h}]` : `[${place} + ${h * count}]`,
    /** Any quad in a row of a tile. */
    anyInRow: (quad: string) => half ? `[(${quad}) / ${QUADS}][(${quad}) % ${QUADS}]` : `[${quad}]`,
    /** Which of the workgroup's quads of queries is the thread's quad `h`. */
    quad: (h: number) => half ? `${QUADS} * y + ${h}` : `y + ${h * count}`,
  };
}

/** Copies the queries' quads of each of `width` rows into their tile, all threads together. */
function copyQueries(width: number, tile: FlashTile, threads: number): string {
  const quads = tile.queries / 4;
  return `for (var i = t; i < ${width * quads}; i += ${threads}) {
  let at = i32(group.z) * size.q_sample + min(first_quad + i % ${quads}, size.q_sample - 1);
  q_tile[i / ${quads}]${queryPlaces(tile).anyInRow(`i % ${quads}`)} = V(q_load(head + i / ${quads}, at) * size.scale);
}`;
}

/**
 * Text that brings keys and values into their tiles through registers, so that those of the next turn are on their way
 * while this turn's are multiplied. Values past the last key are zero: their probability is, and zero times what lies
 * there might not be.
 */
function loadKeys(width: number, threads: number) {
  const quads = KEYS / 4;
  const count = Math.ceil(width * quads / threads);
  const guarded = (i: number, text: string) =>
    (i + 1) * threads > width * quads ? `if (t + ${i * threads} < ${width * quads}) { ${text} }` : `{ ${text} }`;
  return {
    declare: unroll(
      count,
      (i) =>
        `let row${i} = (t + ${i * threads}) / ${quads}; let quad${i} = (t + ${i * threads}) % ${quads};
var next_k${i} = V(); var next_v${i} = V();`,
    ),
    load: (key: string) =>
      unroll(count, (i) =>
        guarded(
          i,
          `let at = min(${key} / 4 + quad${i}, size.k_sample - 1);
let known = vec4<i32>(${key} + quad${i} * 4) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(size.keys);
next_k${i} = V(k_load(head + row${i}, i32(group.z) * size.k_sample + at));
next_v${i} = V(select(vec4<f32>(), v_load(head + row${i}, i32(group.z) * size.v_sample + at), known));`,
        )),
    store: unroll(count, (i) =>
      guarded(
        i,
        `k_tile[row${i}][quad${i}] = next_k${i}; v_tile[row${i}][(quad${i} + row${i}) & 7] = next_v${i};`,
      )),
  };
}

/** See {@link Backend.flashAttention}. Needs subgroups; float16 tiles need `shader-f16`. */
export function flashAttention(spec: AttentionSpec, tile: FlashTile): Launch {
  const { q, k, v, out, heads } = spec;
  const width = q.channels / heads;
  const { queries, half } = tile;
  const threads = queries / 4 / QUADS * LANES;
  const share = width / LANES;
  const places = queryPlaces(tile);
  const rowCount = 4 * QUADS;
  const acrossRow = (name: string, operation: (a: string, b: string) => string) =>
    [1, 2, 4].map((lane) => `${name} = ${operation(name, `subgroupShuffleXor(${name}, ${lane}u)`)};`).join(" ");
  const rows = (h: number) => [0, 1, 2, 3].map((i) => 4 * h + i);
  const eachQuad = (text: (h: number) => string) => unroll(QUADS, text);
  const eachOutput = (text: (c: number, h: number) => string) => unroll(share, (c) => eachQuad((h) => text(c, h)));

  const eachScore = (text: (r: number) => string) => unroll(rowCount, text);
  /** The scores of row `r`, joined by `operation`. */
  const overKeys = (r: number, operation: (a: string, b: string) => string) =>
    operation(operation(`e${r}.x`, `e${r}.y`), operation(`e${r}.z`, `e${r}.w`));
  const maximumOf = (a: string, b: string) => `max(${a}, ${b})`;
  const sumOf = (a: string, b: string) => `(${a} + ${b})`;

  // Each group of products has a function of its own, as those of a product have; see product_tiles.ts.
  const scoreGroups = Math.ceil(width / GROUP);
  const scoreText = unroll(scoreGroups, (g) =>
    `fn score${g}(y: i32, x: i32, s: ptr<function, Scores>) {
${
      unroll(Math.min(GROUP, width - g * GROUP), (i) => {
        const c = g * GROUP + i;
        return `{ let keys = k_tile[${c}][x]; ${eachQuad((h) => `let q${h} = q_tile[${c}]${places.inRow("y", h)};`)}
${eachScore((r) => `(*s).s${r} = fma(V(q${r >> 2}[${r & 3}]), keys, (*s).s${r});`)} }`;
      })
    }
}`);
  const valueGroups = Math.ceil(share / GROUP);
  const valueText = unroll(KEYS / 4 * valueGroups, (part) => {
    const [j, g] = [Math.floor(part / valueGroups), part % valueGroups];
    return `fn value${part}(y: i32, x: i32, n: ptr<function, Outputs>) {
let row = (y + ${4 * j}) & ${places.count - 1}; let turned_quad = (x + ${j}) & 7;
${unroll(4, (i) => eachQuad((h) => `let p${i}_${h} = p_tile[${4 * j + i}]${places.inRow("row", h)};`))}
${
      unroll(Math.min(GROUP, share - g * GROUP), (inGroup) => {
        const c = g * GROUP + inGroup;
        return `{ let values = v_tile[x + ${LANES * c}][turned_quad];
${unroll(4, (i) => eachQuad((h) => `(*n).n${c}_${h} = fma(p${i}_${h}, V(values[${i}]), (*n).n${c}_${h});`))} }`;
      })
    }
}`;
  });
  const keyLoads = loadKeys(width, threads);
  const body = `
alias V = vec4<${half ? "f16" : "f32"}>;
const NOTHING = -3.0e38;
var<workgroup> q_tile: array<${places.row}, ${width}>;
var<workgroup> k_tile: array<array<V, ${KEYS / 4}>, ${width}>;
var<workgroup> v_tile: array<array<V, ${KEYS / 4}>, ${width}>;
var<workgroup> p_tile: array<${places.row}, ${KEYS}>;
struct Scores { ${eachScore((r) => `s${r}: V,`)} }
struct Outputs { ${eachOutput((c, h) => `n${c}_${h}: V,`)} }
${scoreText}
${valueText}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  let y = t / ${LANES};
  let x = t % ${LANES};
  let head = i32(group.y) * ${width};
  let first_quad = i32(group.x) * ${queries / 4};
  let turned = (y + 4 * x) & ${places.count - 1};
  ${copyQueries(width, tile, threads)}
  ${keyLoads.declare}
  ${keyLoads.load("0")}
  ${eachOutput((c, h) => `var o${c}_${h} = vec4<f32>();`)}
  ${eachQuad((h) => `var maximum${h} = vec4<f32>(NOTHING); var sum${h} = vec4<f32>();`)}
  for (var key = 0; key < size.keys; key += ${KEYS}) {
    ${keyLoads.store}
    workgroupBarrier();
    if (key + ${KEYS} < size.keys) {
      ${keyLoads.load(`(key + ${KEYS})`)}
    }
    var scores = Scores();
    ${unroll(scoreGroups, (g) => `score${g}(y, x, &scores);`)}
    let known = vec4<i32>(key + x * 4) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(size.keys);
    ${eachScore((r) => `var e${r} = select(vec4<f32>(NOTHING), vec4<f32>(scores.s${r}), known);`)}
    ${
    eachQuad((h) =>
      `var top${h} = vec4<f32>(${rows(h).map((r) => overKeys(r, maximumOf)).join(", ")});
${acrossRow(`top${h}`, maximumOf)}
top${h} = max(top${h}, maximum${h});
let keep${h} = exp2(maximum${h} - top${h});
maximum${h} = top${h};`
    )
  }
    ${eachScore((r) => `e${r} = exp2(e${r} - vec4<f32>(maximum${r >> 2}[${r & 3}]));`)}
    // Sums of the thread's own keys; those of the row are added up at the end.
    ${
    eachQuad((h) => `sum${h} = sum${h} * keep${h} + vec4<f32>(${rows(h).map((r) => overKeys(r, sumOf)).join(", ")});`)
  }
    ${
    unroll(4, (i) =>
      eachQuad((h) =>
        `p_tile[x * 4 + ${i}]${places.inRow("turned", h)} = V(vec4<f32>(${
          rows(h).map((r) =>
            `e${r}[${i}]`
          ).join(", ")
        }));`
      ))
  }
    workgroupBarrier();
    var outputs = Outputs();
    ${unroll(KEYS / 4 * valueGroups, (part) => `value${part}(y, x, &outputs);`)}
    ${eachOutput((c, h) => `o${c}_${h} = o${c}_${h} * keep${h} + vec4<f32>(outputs.n${c}_${h});`)}
    workgroupBarrier();
  }
  ${eachQuad((h) => acrossRow(`sum${h}`, sumOf))}
  ${
    eachQuad((h) =>
      `if (first_quad + ${places.quad(h)} < size.q_sample) {
  let quad = i32(group.z) * size.out_sample + first_quad + ${places.quad(h)};
${unroll(share, (c) => `  out_store(out_at(head + x + ${LANES * c}, quad), o${c}_${h} / sum${h});`)}
}`
    )
  }
}`;
  return launch({
    name: `flash attention ${width} ${pixels(q)}x${pixels(k)}`,
    operands: [reading({ q, k, v }), writing({ out })],
    sizes: { keys: pixels(k) },
    // Scores in units of log2: exp2 is cheaper than exp.
    values: { scale: Math.LOG2E / Math.sqrt(width) },
    half,
    body,
    workgroups: [Math.ceil(pixels(q) / queries), heads, q.batch],
  });
}
