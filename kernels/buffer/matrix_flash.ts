/**
 * FlashAttention (arXiv 2205.14135) on matrices of a subgroup: each subgroup has some rows of queries.
 *
 * Lanes reach the numbers of a matrix through workgroup memory only. So scores go there and come back as probabilities,
 * while the output's sums stay in matrices. Rows of a matrix cannot be scaled: when a row's maximum grows by more than
 * 2^15, the sums are scaled in workgroup memory, which rarely happens after the first turns. Until then probabilities
 * and their sum refer to the same, older maximum, so that nothing is lost.
 *
 * A turn has two phases. In the first, lanes make probabilities of scores, while values and the next turn's keys are on
 * their way to their tiles. In the second, matrices take the probabilities and make the next turn's scores.
 * @module
 */
import type { AttentionSpec } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch, type Operands } from "../launch.ts";
import { pixels, type Tensor } from "../tensor.ts";
import { layoutOf, sampleColumns } from "./layout.ts";
import { loadMatrix, matrixTypes, type MatrixUnit, multiplyAdd, storeMatrix } from "./matrix.ts";

/** How attention is cut into workgroups. */
export interface MatrixFlashTile {
  /** Its lanes are a multiple of a subgroup's queries. */
  readonly unit: MatrixUnit;
  /** Subgroups of a workgroup. */
  readonly subgroups: number;
  /** Queries of a subgroup: one matrix, or some below each other. */
  readonly rows: number;
  /** Keys of one turn. */
  readonly keys: number;
}

/**
 * How far a maximum may grow before sums are scaled, as a power of two: probabilities relative to an older one are larger
 * than 1, and float16 ends at 65,504.
 */
const MOST_GROWTH = 15;

/** What follows from a tile. Strides and places count 16 bytes; rows end with as much padding, for the banks' sake. */
function measure(width: number, { unit: { shape: { n, k }, lanes }, subgroups, rows, keys }: MatrixFlashTile) {
  const queries = rows * subgroups;
  const side = Math.max(n, k);
  /** Those past the width are zero in queries and keys. */
  const channels = Math.ceil(width / side) * side;
  const stride = { keys: keys / 8 + 1, queries: queries / 8 + 1, scores: keys / 4 + 1, out: rows / 4 + 1 };
  const tile = channels * stride.keys;
  /** A subgroup's scores, or some columns of its output. */
  const region = Math.max(rows * stride.scores, n * stride.out);
  return {
    queries,
    channels,
    stride,
    region,
    /** Queries lie where values and probabilities will; keys lie apart, since their last rows stay zero. */
    place: { queries: tile, values: tile, probabilities: 2 * tile },
    halves: tile + Math.max(tile + queries * stride.keys, channels * stride.queries),
    threads: lanes * subgroups,
    /** Lanes that share a row of scores. */
    parts: lanes / rows,
    /** Columns of the output that a region takes, turned. */
    columns: Math.floor(region / stride.out / n) * n,
  };
}

/** A loop of WGSL. Compilers unroll it themselves where they like to, and take a third of the time otherwise. */
function repeat(count: number, name: string, text: string): string {
  return `for (var ${name} = 0; ${name} < ${count}; ${name}++) { ${text} }`;
}

/** Bytes of workgroup memory that a tile takes. */
function bytesOf(width: number, tile: MatrixFlashTile): number {
  const { halves, region, queries } = measure(width, tile);
  return 16 * (halves + tile.subgroups * region) + 4 * queries + 4;
}

/** Tiles, the fastest first (H200). */
const TILES: readonly Pick<MatrixFlashTile, "subgroups" | "keys">[] = [
  { subgroups: 8, keys: 32 },
  { subgroups: 4, keys: 32 },
  { subgroups: 4, keys: 16 },
  { subgroups: 2, keys: 16 },
];

/** Queries of a subgroup that has as many lanes. Twice as many were 7 to 23 % slower (H200). */
const ROWS = 16;

/** What limits a tile: what multiplies matrices, and the most threads and bytes of a workgroup. */
export interface MatrixFlashLimits {
  readonly unit: MatrixUnit;
  readonly threads: number;
  readonly workgroupBytes: number;
}

/** The tiles that a device can run, the fastest first. */
export function matrixFlashTiles(width: number, limits: MatrixFlashLimits): readonly MatrixFlashTile[] {
  const { unit } = limits;
  const rows = Math.max(unit.shape.m, Math.min(ROWS, unit.lanes));
  return TILES.map((tile) => ({ ...tile, unit, rows })).filter((tile) => {
    const { threads, parts } = measure(width, tile);
    return Number.isInteger(parts) && tile.keys % (8 * parts) === 0 && threads <= limits.threads &&
      bytesOf(width, tile) <= limits.workgroupBytes;
  });
}

/**
 * WGSL `NAME_eight(sample, row, eight) -> vec4<u32>`: eight neighbouring columns of float16, read at once where all rows
 * and samples start at multiples of eight. Past a sample's memory its last columns are read.
 */
function readingEights(tensors: Readonly<Record<string, Tensor>>): readonly Operands[] {
  return Object.entries(tensors).map(([name, x]) => ({
    ...columnsOf(name, x),
    text: `fn ${name}_eight(sample: i32, row: i32, eight: i32) -> vec4<u32> {
  let first = (size.${name}_row + row) * size.${name}_stride + sample * size.${name}_sample;
  let last = size.${name}_sample - 1;
  return ${
      aligned(x)
        ? `${name}[first + min(eight, last)]`
        : `vec4<u32>(${name}[first + min(2 * eight, last)], ${name}[first + min(2 * eight + 1, last)])`
    };
}`,
  }));
}

/** WGSL `NAME_store(sample, row, eight, value)`, which writes what lies in the sample's memory. */
function writingEights(name: string, x: Tensor): Operands {
  return {
    ...columnsOf(name, x, true),
    text: `fn ${name}_store(sample: i32, row: i32, eight: i32, value: vec4<u32>) {
  let first = (size.${name}_row + row) * size.${name}_stride + sample * size.${name}_sample;
  ${
      aligned(x)
        ? `if (eight < size.${name}_sample) { ${name}[first + eight] = value; }`
        : `if (2 * eight < size.${name}_sample) { ${name}[first + 2 * eight] = value.xy; }
  if (2 * eight + 1 < size.${name}_sample) { ${name}[first + 2 * eight + 1] = value.zw; }`
    }
}`,
  };
}

function aligned(x: Tensor): boolean {
  return layoutOf(x).stride % 8 === 0 && sampleColumns(pixels(x)) % 8 === 0;
}

function columnsOf(name: string, x: Tensor, written = false): Omit<Operands, "text"> {
  const columns = aligned(x) ? 8 : 4;
  return {
    ports: [{
      kind: "buffer",
      name,
      access: written ? "read_write" : "read",
      element: aligned(x) ? "vec4<u32>" : "vec2<u32>",
    }],
    memory: [x.memory],
    sizes: {
      [`${name}_stride`]: layoutOf(x).stride / columns,
      [`${name}_row`]: x.firstRow,
      [`${name}_sample`]: sampleColumns(pixels(x)) / columns,
    },
  };
}

/** See {@link Backend.flashAttention}. All operands are float16; needs matrices and workgroups of whole subgroups. */
export function matrixFlash(spec: AttentionSpec, tile: MatrixFlashTile): Launch {
  const { q, k, v, out, heads } = spec;
  const width = q.channels / heads;
  const { unit: { shape, lanes }, subgroups, rows, keys } = tile;
  const blocks = rows / shape.m;
  const { queries, channels, stride, region, place, halves, threads, parts, columns } = measure(width, tile);
  const eightsOfKeys = keys / 8;
  /** Quads of keys of a lane. */
  const share = keys / parts / 4;
  const eachBlock = (text: (i: number) => string) => unroll(blocks, text);
  const eachOutput = (text: (j: number, i: number) => string, first = 0, count = channels) =>
    unroll(Math.min(count, channels - first) / shape.n, (j) => eachBlock((i) => text(first / shape.n + j, i)));
  /** Runs of columns of the output. */
  const runs = (columns: number) => Array.from({ length: Math.ceil(channels / columns) }, (_, i) => i * columns);

  const copies = Math.ceil(width * eightsOfKeys / threads);
  const eachCopy = (text: (i: number) => string) =>
    unroll(
      copies,
      (i) =>
        (i + 1) * threads > width * eightsOfKeys
          ? `if (t + ${i * threads} < ${width * eightsOfKeys}) { ${text(i)} }`
          : `{ ${text(i)} }`,
    );
  const source = (i: number) => `(t + ${i * threads}) / ${eightsOfKeys}, (t + ${i * threads}) % ${eightsOfKeys}`;
  const target = (i: number) =>
    `(t + ${i * threads}) / ${eightsOfKeys} * ${stride.keys} + (t + ${i * threads}) % ${eightsOfKeys}`;

  const scoring = repeat(
    keys / shape.n,
    "j",
    `
${eachBlock((i) => `var s${i} = Sum();`)}
${
      unroll(channels / shape.k, (c) =>
        `{ let keys = ${
          loadMatrix("Right", "halves", {
            offset: `${c * shape.k * stride.keys} + j * ${shape.n / 8}`,
            stride: stride.keys,
            order: "row_major",
          })
        };
${eachBlock((i) => `s${i} = ${multiplyAdd(`q${c}_${i}`, "keys", `s${i}`)};`)} }`)
    }
${
      eachBlock((i) =>
        storeMatrix("scores", `s${i}`, {
          offset: `own + ${i * shape.m * stride.scores} + j * ${shape.n / 4}`,
          stride: stride.scores,
          order: "row_major",
        })
      )
    }`,
  );

  const acrossParts = (name: string, operation: (a: string, b: string) => string) =>
    unroll(Math.log2(parts), (i) => `${name} = ${operation(name, `subgroupShuffleXor(${name}, ${rows << i}u)`)};`);

  const scaled = (j: number, i: number, first: number) => ({
    offset: `own + ${i * shape.m * stride.scores + (j * shape.n - first) / 4}`,
    stride: stride.scores,
    order: "row_major" as const,
  });
  const scaling = runs(keys).map((first) => `
      ${eachOutput((j, i) => storeMatrix("scores", `o${j}_${i}`, scaled(j, i, first)), first, keys)}
      workgroupBarrier();
      for (var c = part; c < ${Math.min(keys, channels - first) / 4}; c += ${parts}) {
        scores[own + row * ${stride.scores} + c] *= keep;
      }
      workgroupBarrier();
      ${eachOutput((j, i) => `o${j}_${i} = ${loadMatrix("Sum", "scores", scaled(j, i, first))};`, first, keys)}
      workgroupBarrier();`).join("");

  const weighing = repeat(
    keys / shape.k,
    "r",
    `
${
      eachBlock((i) =>
        `let p${i} = ${
          loadMatrix("Left", "halves", {
            offset: `${place.probabilities} + (first + ${i * shape.m}) * ${stride.keys} + r * ${shape.k / 8}`,
            stride: stride.keys,
            order: "row_major",
          })
        };`
      )
    }
${
      unroll(channels / shape.n, (j) =>
        `{ let values = ${
          loadMatrix("Right", "halves", {
            offset: `${place.values + j * shape.n * stride.keys} + r * ${shape.k / 8}`,
            stride: stride.keys,
            order: "col_major",
          })
        };
${eachBlock((i) => `o${j}_${i} = ${multiplyAdd(`p${i}`, "values", `o${j}_${i}`)};`)} }`)
    }`,
  );

  const writing = runs(columns).map((first) => `
  ${
    eachOutput(
      (j, i) =>
        storeMatrix("scores", `o${j}_${i}`, {
          offset: `own + ${(j * shape.n - first) * stride.out + i * shape.m / 4}`,
          stride: stride.out,
          order: "col_major",
        }),
      first,
      columns,
    )
  }
  workgroupBarrier();
  for (var i = lane; i < ${Math.max(0, Math.min(columns, width - first)) * rows / 8}; i += ${lanes}) {
    let quad = i % ${rows / 8} * 2;
    let at = own + i / ${rows / 8} * ${stride.out} + quad;
    let factors = first / 4 + quad;
    let a = scores[at] * inverse[factors];
    let b = scores[at + 1] * inverse[factors + 1];
    out_store(sample, head + ${first} + i / ${
    rows / 8
  }, (first_query + first) / 8 + quad / 2, vec4<u32>(pack(a), pack(b)));
  }
  workgroupBarrier();`).join("");

  const body = `
${matrixTypes(shape)}
const NOTHING = -3.0e38;
const MOST_GROWTH = ${MOST_GROWTH}.0;
/** Keys, values and probabilities, eight float16 an element. */
var<workgroup> halves: array<vec4<u32>, ${halves}>;
var<workgroup> scores: array<vec4<f32>, ${subgroups * region}>;
var<workgroup> inverse: array<vec4<f32>, ${queries / 4}>;
/** Whether a maximum has grown so much that the output is to be scaled. */
var<workgroup> grown: atomic<u32>;
fn pack(x: vec4<f32>) -> vec2<u32> { return vec2<u32>(pack2x16float(x.xy), pack2x16float(x.zw)); }
/** The first \`count\` of eight values, and zeros: what lies past the last key may be no number. */
fn head_of(x: vec4<u32>, count: i32) -> vec4<u32> {
  if (count >= 8) { return x; }
  let counts = vec4<i32>(count) - vec4<i32>(0, 2, 4, 6);
  return select(select(vec4<u32>(), x & vec4<u32>(0xffffu), counts == vec4<i32>(1)), x, counts > vec4<i32>(1));
}
/** Makes scores nothing that belong to no key; a lane has \`left\` keys from its first on. */
fn forget_scores(begin: i32, left: i32) {
  let known = vec4<i32>(left) - vec4<i32>(0, 1, 2, 3);
  for (var i = 0; i < ${share}; i++) {
    scores[begin + i] = select(vec4<f32>(NOTHING), scores[begin + i], known > vec4<i32>(4 * i));
  }
}
struct Turn { tops: vec4<f32>, sums: vec4<f32> }
/** Makes probabilities of a lane's scores, relative to a maximum. */
fn exponentiate(begin: i32, to: i32, maximum: f32) -> Turn {
  var turn = Turn(vec4<f32>(NOTHING), vec4<f32>());
  for (var i = 0; i < ${share / 2}; i++) {
    let a = scores[begin + 2 * i];
    let b = scores[begin + 2 * i + 1];
    turn.tops = max(turn.tops, max(a, b));
    let p = exp2(fma(a, vec4<f32>(size.scale), vec4<f32>(-maximum)));
    let r = exp2(fma(b, vec4<f32>(size.scale), vec4<f32>(-maximum)));
    turn.sums += p + r;
    halves[to + i] = vec4<u32>(pack(p), pack(r));
  }
  return turn;
}
@compute @workgroup_size(${threads})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
  let t = i32(thread);
  let lane = i32(subgroup_lane);
  let row = lane % ${rows};
  let part = lane / ${rows};
  let sample = i32(group.z);
  let head = i32(group.y) * ${width};
  let first_query = i32(group.x) * ${queries};
  let first = i32(subgroup) * ${rows};
  let own = i32(subgroup) * ${region};
  let scored = own + row * ${stride.scores} + part * ${share};
  let probabilities = ${place.probabilities} + (first + row) * ${stride.keys} + part * ${share / 2};
  for (var i = t; i < ${channels * queries / 8}; i += ${threads}) {
    let c = i / ${queries / 8};
    let eight = i % ${queries / 8};
    var x = vec4<u32>();
    if (c < ${width}) { x = q_eight(sample, head + c, first_query / 8 + eight); }
    halves[${place.queries} + c * ${stride.queries} + eight] = x;
  }
  ${eachCopy((i) => `halves[${target(i)}] = k_eight(sample, head + ${source(i)});`)}
  workgroupBarrier();
  ${
    unroll(channels / shape.k, (c) =>
      eachBlock((i) =>
        `let q${c}_${i} = ${
          loadMatrix("Left", "halves", {
            offset: `${place.queries + c * shape.k * stride.queries} + (first + ${i * shape.m}) / 8`,
            stride: stride.queries,
            order: "col_major",
          })
        };`
      ))
  }
  ${eachOutput((j, i) => `var o${j}_${i} = Sum();`)}
  var maximum = NOTHING;
  var sums = vec4<f32>();
  // The turn before the first makes its scores.
  for (var key = ${-keys}; key < size.keys; key += ${keys}) {
    if (key >= 0) {
      ${unroll(copies, (i) => `var k${i} = vec4<u32>(); var v${i} = vec4<u32>();`)}
      ${
    eachCopy((i) =>
      `let c = head + (t + ${i * threads}) / ${eightsOfKeys};
let eight = key / 8 + (t + ${i * threads}) % ${eightsOfKeys};
v${i} = v_eight(sample, c, eight);
k${i} = k_eight(sample, c, eight + ${eightsOfKeys});`
    )
  }
      let left = size.keys - key - part * ${4 * share};
      if (key + ${keys} > size.keys) { forget_scores(scored, left); }
      var turn = exponentiate(scored, probabilities, maximum);
      var top = max(max(turn.tops.x, turn.tops.y), max(turn.tops.z, turn.tops.w)) * size.scale;
      ${acrossParts("top", (a, b) => `max(${a}, ${b})`)}
      var keep = 1.0;
      if (top > maximum + MOST_GROWTH) {
        turn = exponentiate(scored, probabilities, top);
        keep = exp2(maximum - top);
        maximum = top;
        if (key > 0) { atomicStore(&grown, 1u); }
      }
      sums = sums * keep + turn.sums;
      ${
    eachCopy((i) =>
      `halves[${target(i)}] = k${i};
halves[${place.values} + ${target(i)}] = head_of(v${i}, size.keys - key - (t + ${i * threads}) % ${eightsOfKeys} * 8);`
    )
  }
      if (workgroupUniformLoad(&grown) != 0u) {
        if (t == 0) { atomicStore(&grown, 0u); }${scaling}
      }
      ${weighing}
    }
    if (key + ${keys} < size.keys) { ${scoring} }
    workgroupBarrier();
  }
  var sum = sums.x + sums.y + sums.z + sums.w;
  ${acrossParts("sum", (a, b) => `${a} + ${b}`)}
  if (part == 0) { inverse[(first + row) / 4][row % 4] = 1.0 / sum; }
  workgroupBarrier();
  ${writing}
}`;
  return launch({
    name: `flash attention on matrices ${width} ${pixels(q)}x${pixels(k)}`,
    operands: [...readingEights({ q, k, v }), writingEights("out", out)],
    sizes: { keys: pixels(k) },
    // Scores in units of log2: exp2 is cheaper than exp.
    values: { scale: Math.LOG2E / Math.sqrt(width) },
    half: true,
    body,
    workgroups: [Math.ceil(pixels(q) / queries), heads, q.batch],
  });
}
