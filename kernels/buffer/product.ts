/**
 * `out = a^T b` of the buffer family: linear layers, convolutions and the products of attention.
 *
 * Both operands have the summed index outermost, so tiles of 16 summed rows are plain copies into workgroup memory,
 * double-buffered: the next tile is on its way in registers while this one is multiplied. A warp is 4 x 8 threads of
 * 8 x 8 outputs each (32 rows, 64 columns). Tiles are nested arrays indexed by literals where possible, because naga
 * clamps every dynamic index (9 % on an H100).
 * @module
 */
import type { Launch, ProductBatch, ProductSpec, Stride, Window } from "../family.ts";
import { kernel, type Port, unroll } from "../kernel.ts";
import { type Memory, pixels, type Tensor } from "../tensor.ts";
import { type EpilogueOperands, epilogueOperands } from "./epilogue.ts";
import { access, addressSizes, layoutOf, memoryOf, port, sampleColumns, scalarAccess, scalarPort } from "./layout.ts";

/** Warps of a workgroup: 32 `rows` by 64 `columns` outputs each. */
export interface ProductTile {
  readonly rows: number;
  readonly columns: number;
}

/** Summed rows of a tile. */
const DEPTH = 16;

/** Workgroups below which the summed rows are split: two for each multiprocessor of a large GPU. */
const ENOUGH_WORKGROUPS = 264;

/** How a product is cut into workgroups. */
interface Cut {
  readonly tile: ProductTile;
  /** Parts of the summed rows, added up by a second launch. */
  readonly splits: number;
}

/** The largest tile that still gives enough workgroups, and a split of the sum when none does. */
export function chooseCut(shape: { m: number; n: number; k: number; batches: number; splittable: boolean }): Cut {
  const { m, n, k, batches, splittable } = shape;
  const workgroups = (tile: ProductTile) =>
    Math.ceil(m / (32 * tile.rows)) * Math.ceil(n / (64 * tile.columns)) * batches;
  const wide = { rows: 2, columns: 2 };
  if (workgroups(wide) >= ENOUGH_WORKGROUPS) return { tile: wide, splits: 1 };
  const square = { rows: 2, columns: 1 };
  const count = workgroups(square);
  if (count >= ENOUGH_WORKGROUPS || !splittable) return { tile: square, splits: 1 };
  // At least eight turns of the loop a part: shorter ones do not pay for the addition.
  const most = Math.max(1, Math.floor(k / (8 * DEPTH)));
  return { tile: square, splits: Math.min(most, 16, Math.ceil(ENOUGH_WORKGROUPS / count)) };
}

const NO_STRIDE: Stride = { rows: 0, columns: 0 };
/** A split product leaves its epilogue to the addition. */
const NO_OPERANDS: EpilogueOperands = { ports: [], memory: [], sizes: {}, text: "" };

const NONE = [NO_STRIDE, NO_STRIDE] as const;
const SINGLE: ProductBatch = { outer: 1, inner: 1, a: NONE, b: NONE, out: NONE };

function batchSizes(batch: ProductBatch): Record<string, number> {
  const sizes: Record<string, number> = { inner: batch.inner };
  for (const operand of ["a", "b", "out"] as const) {
    const [outer, inner] = batch[operand];
    if (outer.columns % 4 !== 0 || inner.columns % 4 !== 0) {
      throw new RangeError(`Product strides of ${outer.columns} and ${inner.columns} columns are not multiples of 4`);
    }
    sizes[`${operand}_outer_rows`] = outer.rows;
    sizes[`${operand}_inner_rows`] = inner.rows;
    sizes[`${operand}_outer_quads`] = outer.columns / 4;
    sizes[`${operand}_inner_quads`] = inner.columns / 4;
  }
  return sizes;
}

function windowSizes(window: Window, input: Tensor, out: Tensor): Record<string, number> {
  return {
    window: window.size,
    stride: window.stride,
    pad: window.pad,
    upsample_shift: Math.log2(window.upsample),
    image_height: window.imageHeight,
    image_width: window.imageWidth,
    input_row: window.inputWidth,
    input_sample: sampleColumns(pixels(input)),
    output_width: window.outputWidth,
    output_pixels: pixels(out),
    output_sample: sampleColumns(pixels(out)),
  };
}

/** The pixel under one tap, one column a thread: its place is computed once a tap, not once a channel. */
const WINDOW_TEXT = `
/** Column of the input under a tap of output column n, or -1 outside the image. */
fn input_column(n: i32, tap: i32) -> i32 {
  let sample = n / size.output_sample;
  let pixel = n % size.output_sample;
  let row = (pixel / size.output_width) * size.stride + tap / size.window - size.pad;
  let column = (pixel % size.output_width) * size.stride + tap % size.window - size.pad;
  let inside = pixel < size.output_pixels && n < size.n
    && row >= 0 && column >= 0 && row < size.image_height && column < size.image_width;
  let at = (row >> u32(size.upsample_shift)) * size.input_row + (column >> u32(size.upsample_shift));
  return select(-1, sample * size.input_sample + at, inside);
}`;

/** Text of loading one tile into registers and of storing it into workgroup memory. */
interface Loader {
  readonly declare: string;
  readonly load: string;
  readonly store: string;
}

/** Quads of `a`; GEGLU, whose `m0` counts values and gates, interleaves four quads of values with four of their gates. */
function loadA(tile: ProductTile, geglu: boolean): Loader {
  const quads = 8 * tile.rows;
  const threads = 32 * tile.rows * tile.columns;
  const count = DEPTH * quads / threads;
  const quad = geglu ? "m0 / 8 + (ax / 8) * 4 + ax % 4 + select(0, size.m / 4, ax % 8 >= 4)" : "m0 / 4 + ax";
  const k = (i: number) => `k + ak + ${i * threads / quads}`;
  return {
    declare: `let ax = t % ${quads}; let ak = t / ${quads}; let a_quad = z.a_quad + ${quad};
${unroll(count, (i) => `var ra${i} = vec4<f32>();`)}`,
    load: unroll(
      count,
      (i) => `ra${i} = select(vec4<f32>(), a_load(z.a_row + tap * size.k + ${k(i)}, a_quad), ${k(i)} < last);`,
    ),
    store: unroll(count, (i) => `a_tile[s][ak + ${i * threads / quads}][ax] = ra${i};`),
  };
}

function loadB(tile: ProductTile, softmax: boolean): Loader {
  const quads = 16 * tile.columns;
  const threads = 32 * tile.rows * tile.columns;
  const count = DEPTH * quads / threads;
  const k = (i: number) => `k + bk + ${i * threads / quads}`;
  const value = (i: number) => {
    const scores = `b_load(z.b_row + ${k(i)}, b_quad)`;
    return softmax ? `exp(${scores} * size.scale - maximum)` : scores;
  };
  return {
    declare: `let bx = t % ${quads}; let bk = t / ${quads}; let b_quad = z.b_quad + n0 / 4 + bx;
${softmax ? "let maximum = rows_load(4 * i32(group.z), n0 / 4 + bx);" : ""}
${unroll(count, (i) => `var rb${i} = vec4<f32>();`)}`,
    load: unroll(count, (i) => `rb${i} = select(vec4<f32>(), ${value(i)}, ${k(i)} < last);`),
    store: unroll(count, (i) => `b_tile[s][bk + ${i * threads / quads}][bx] = rb${i};`),
  };
}

/** One column a thread, or every `parts`-th summed row of it. */
function loadWindow(tile: ProductTile): Loader {
  const columns = 64 * tile.columns;
  const threads = 32 * tile.rows * tile.columns;
  const parts = threads / columns;
  const count = DEPTH / parts;
  const row = (i: number) => `k + bk + ${i * parts}`;
  return {
    declare: `let bx = t % ${columns}; let bk = t / ${columns}; var column = input_column(n0 + bx, 0);
${unroll(count, (i) => `var rb${i} = 0.0;`)}`,
    load: unroll(
      count,
      (i) => `rb${i} = 0.0; if (column >= 0 && ${row(i)} < last) { rb${i} = b_value(${row(i)}, column); }`,
    ),
    store: unroll(count, (i) => `b_tile[s][bk + ${i * parts}][bx >> 2u][bx & 3] = rb${i};`),
  };
}

/** The products of one tile: 16 summed rows, 8 x 8 outputs a thread. */
function multiplyText(): string {
  return unroll(DEPTH, (k) =>
    `{
let a0 = a_tile[s][${k}][xa]; let a1 = a_tile[s][${k}][xa + 4]; let b0 = b_tile[s][${k}][xb]; let b1 = b_tile[s][${k}][xb + 8];
${
      unroll(
        8,
        (r) => [0, 1].map((j) => `c${r}_${j} = fma(vec4<f32>(a${r >> 2}[${r & 3}]), b${j}, c${r}_${j});`).join(" "),
      )
    }
}`);
}

/** What happens to the sums: softmax sums, bias, activation, residual, store; or, of a split product, the store alone. */
function epilogueText(spec: ProductSpec, split: boolean): string {
  const geglu = spec.activation === "geglu";
  const lines: string[] = [];
  if (spec.softmax) lines.push(...[0, 1].map((j) => `let sum${j} = rows_load(4 * i32(group.z) + 1, quad${j});`));
  for (let r = 0; r < (geglu ? 4 : 8); r++) {
    const row = geglu ? `row_first + ${r}` : `row_first + ${r < 4 ? r : r + 12}`;
    lines.push(`{ let row = ${row}; if (row < size.m) {`);
    if (split) {
      for (const j of [0, 1]) {
        lines.push(
          `if (quad${j} < size.n_quads) { partial[(part * size.m + row) * size.n_quads + quad${j}] = c${r}_${j}; }`,
        );
      }
    } else {
      if (spec.bias) lines.push(`let bias_value = bias_at(row);`);
      if (spec.bias && geglu) lines.push(`let bias_gate = bias_at(row + size.m);`);
      for (const j of [0, 1]) {
        const sum = (r: number, bias: string) => {
          const value = spec.softmax ? `c${r}_${j} / sum${j}` : `c${r}_${j}`;
          return spec.bias ? `${value} + ${bias}` : value;
        };
        let value = sum(r, "bias_value");
        if (geglu) value = `(${value}) * gelu(${sum(r + 4, "bias_gate")})`;
        else if (spec.activation && spec.activation !== "none") value = `${spec.activation}(${value})`;
        if (spec.plus) value = `${value} + plus_load(row, z.out_quad + quad${j})`;
        lines.push(`if (quad${j} < size.n_quads) { out_store(z.out_row + row, z.out_quad + quad${j}, ${value}); }`);
      }
    }
    lines.push("} }");
  }
  return lines.join("\n");
}

/** See {@link Family.product}. */
export function product(spec: ProductSpec): readonly Launch[] {
  const { a, b, out, window, softmax } = spec;
  const batch = spec.batch ?? SINGLE;
  const geglu = spec.activation === "geglu";
  const n = spec.batch ? spec.n : layoutOf(out).stride;
  const m = geglu ? 2 * spec.m : spec.m;
  const batches = batch.outer * batch.inner;
  const taps = window ? window.size ** 2 : 1;
  const splittable = batches === 1 && !geglu && !softmax;
  const { tile, splits } = chooseCut({ m, n, k: spec.k * taps, batches, splittable });
  const split = splits > 1;
  const quads = Math.ceil(n / 4);
  const operands = split ? NO_OPERANDS : epilogueOperands(spec);
  const partial: Memory = {
    layout: { kind: "buffer", element: "f32", stride: quads * 4, bytes: splits * spec.m * quads * 16 },
    label: "partial sums",
    kept: false,
  };
  const ports: Port[] = [
    port("a", a),
    window ? scalarPort("b", b) : port("b", b),
    split
      ? { kind: "buffer", name: "partial", access: "read_write", element: "vec4<f32>" }
      : port("out", out, "read_write"),
    ...(softmax ? [port("rows", softmax.rows)] : []),
    ...operands.ports,
  ];
  const loaders = [loadA(tile, geglu), window ? loadWindow(tile) : loadB(tile, softmax !== undefined)];
  const each = (part: keyof Loader) => loaders.map((loader) => loader[part]).join("\n");
  const body = `
struct Offsets { a_row: i32, a_quad: i32, b_row: i32, b_quad: i32, out_row: i32, out_quad: i32 }
fn offsets(z: i32) -> Offsets {
  let o = z / size.inner; let i = z % size.inner;
  return Offsets(
    o * size.a_outer_rows + i * size.a_inner_rows, o * size.a_outer_quads + i * size.a_inner_quads,
    o * size.b_outer_rows + i * size.b_inner_rows, o * size.b_outer_quads + i * size.b_inner_quads,
    o * size.out_outer_rows + i * size.out_inner_rows, o * size.out_outer_quads + i * size.out_inner_quads);
}
var<workgroup> a_tile: array<array<array<vec4<f32>, ${8 * tile.rows}>, ${DEPTH}>, 2>;
var<workgroup> b_tile: array<array<array<vec4<f32>, ${16 * tile.columns}>, ${DEPTH}>, 2>;
${access("a", a)}
${window ? scalarAccess("b", b) + WINDOW_TEXT : access("b", b)}
${split ? "" : access("out", out, "read_write")}
${softmax ? access("rows", softmax.rows) : ""}
${operands.text}
@compute @workgroup_size(${32 * tile.rows * tile.columns})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  let part = i32(group.z) % size.splits;
  let z = offsets(i32(group.z) / size.splits);
  let m0 = i32(group.x) * ${32 * tile.rows};
  let n0 = i32(group.y) * ${64 * tile.columns};
  let warp = t / 32;
  let xa = (warp / ${tile.columns}) * 8 + (t % 32) / 8;
  let xb = (warp % ${tile.columns}) * 16 + t % 8;
  ${unroll(8, (r) => `var c${r}_0 = vec4<f32>(); var c${r}_1 = vec4<f32>();`)}
  // The summed rows of all taps, in blocks that never cross a tap; this part's share of the blocks.
  let blocks_of_tap = (size.k + ${DEPTH - 1}) / ${DEPTH};
  let blocks = blocks_of_tap * size.taps;
  let share = (blocks + size.splits - 1) / size.splits;
  let last = size.k;
  var block = part * share;
  let end = min(block + share, blocks);
  var tap = block / blocks_of_tap;
  var k = (block % blocks_of_tap) * ${DEPTH};
  var s = 0;
  ${each("declare")}
  ${window ? "column = input_column(n0 + bx, tap);" : ""}
  if (block < end) {
    ${each("load")}
  }
  ${each("store")}
  workgroupBarrier();
  loop {
    if (block >= end) { break; }
    block += 1;
    k += ${DEPTH};
    if (k >= size.k) {
      k = 0;
      tap += 1;
      ${window ? "column = input_column(n0 + bx, tap);" : ""}
    }
    if (block < end) {
      ${each("load")}
    }
    ${multiplyText()}
    if (block >= end) { break; }
    s = 1 - s;
    ${each("store")}
    workgroupBarrier();
  }
  let quad0 = n0 / 4 + xb;
  let quad1 = quad0 + 8;
  let row_first = m0${geglu ? " / 2 + (xa / 8) * 16 + (xa % 8) * 4" : " + xa * 4"};
  ${epilogueText(spec, split)}
}`;
  const main: Launch = {
    kernel: kernel({
      name: `${window ? `convolution${window.size}` : "product"} ${spec.m}x${n}x${spec.k}`,
      ports,
      sizes: {
        ...addressSizes("a", a),
        ...addressSizes("b", b),
        ...addressSizes("out", out),
        ...(softmax && addressSizes("rows", softmax.rows)),
        ...operands.sizes,
        ...batchSizes(batch),
        ...(window && windowSizes(window, b, out)),
        m: spec.m,
        n,
        n_quads: quads,
        k: spec.k,
        taps,
        splits,
      },
      values: softmax ? { scale: softmax.scale } : {},
      body,
      workgroups: [
        Math.ceil(m / (32 * tile.rows)),
        Math.ceil(n / (64 * tile.columns)),
        batches * splits,
      ],
    }),
    memory: [
      a.memory,
      b.memory,
      split ? partial : out.memory,
      ...(softmax ? [softmax.rows.memory] : []),
      ...operands.memory,
    ],
  };
  return split ? [main, addParts(spec, partial, splits, quads)] : [main];
}

/** Adds up the parts of a split product and does what its epilogue would have done. */
function addParts(spec: ProductSpec, partial: Memory, splits: number, quads: number): Launch {
  const { out, m } = spec;
  const operands = epilogueOperands(spec);
  let value = spec.bias ? "sum + bias_at(row)" : "sum";
  if (spec.activation && spec.activation !== "none") value = `${spec.activation}(${value})`;
  if (spec.plus) value = `${value} + plus_load(row, quad)`;
  return {
    kernel: kernel({
      name: `add parts ${m}x${quads * 4}`,
      ports: [
        { kind: "buffer", name: "partial", access: "read", element: "vec4<f32>" },
        port("out", out, "read_write"),
        ...operands.ports,
      ],
      sizes: { ...addressSizes("out", out), ...operands.sizes, m, n_quads: quads, splits },
      body: `
${access("out", out, "read_write")}
${operands.text}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = i32(id.x);
  let row = i32(id.y);
  if (quad >= size.n_quads) { return; }
  var sum = vec4<f32>();
  for (var part = 0; part < size.splits; part++) { sum += partial[(part * size.m + row) * size.n_quads + quad]; }
  out_store(row, quad, ${value});
}`,
      workgroups: [Math.ceil(quads / 64), m, 1],
    }),
    memory: memoryOf(partial, out, ...operands.memory),
  };
}
