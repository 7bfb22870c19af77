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
import { access, addressSizes, indexAccess, layoutOf, memoryOf, port, sampleColumns, scalarPort } from "./layout.ts";

/** How a product is cut into workgroups. */
export interface ProductTile {
  /** Warps of a workgroup along the rows of the output, 32 rows each. */
  readonly rows: number;
  /** Warps along its columns, 64 columns each. */
  readonly columns: number;
  /** Summed rows that are in workgroup memory at once. */
  readonly depth: number;
  /** Whether tiles and products are float16; sums over tiles are float32 in any case. */
  readonly half: boolean;
}

/** Threads that keep a large GPU busy: four warps for each scheduler of an H100. */
const ENOUGH_THREADS = 1 << 16;

/** A tile, and how far the sum is split. */
export interface Cut {
  readonly tile: ProductTile;
  /** Parts of the summed rows, added up by a second launch. */
  readonly splits: number;
}

/** Workgroup memory of both operands' tiles, twice each. */
function tileBytes({ rows, columns, depth, half }: ProductTile): number {
  return 2 * depth * (32 * rows + 64 * columns) * (half ? 2 : 4);
}

/** What decides how a product is cut. */
export interface CutShape {
  readonly m: number;
  readonly n: number;
  /** Summed rows of all taps. */
  readonly k: number;
  readonly batches: number;
  /** Whether parts of the sum may be added up later. */
  readonly splittable: boolean;
  /** Whether products may be float16. */
  readonly half: boolean;
  /** Most memory of a workgroup in bytes. */
  readonly workgroupBytes: number;
}

/**
 * Tiles of float32, with the TFLOP/s that an H100 reaches with them on large products: the fewer workgroups share a
 * tile's edges, the better, but a tile that hangs over the output multiplies for nothing.
 */
const TILES: readonly { readonly rows: number; readonly columns: number; readonly rate: number }[] = [
  { rows: 4, columns: 2, rate: 42 },
  { rows: 2, columns: 2, rate: 37 },
  { rows: 2, columns: 1, rate: 34 },
];

/**
 * The tile with which all outputs, those over the edge included, take the shortest, among those that still give enough
 * threads; and a split of the sum when none does. Float16 gains nothing from larger tiles.
 */
export function chooseCut({ m, n, k, batches, splittable, half, workgroupBytes }: CutShape): Cut {
  const workgroups = ({ rows, columns }: Pick<ProductTile, "rows" | "columns">) =>
    Math.ceil(m / (32 * rows)) * Math.ceil(n / (64 * columns)) * batches;
  const threads = (tile: ProductTile) => 32 * tile.rows * tile.columns * workgroups(tile);
  const tiles = TILES.map(({ rows, columns, rate }) => ({ tile: { rows, columns, depth: 16, half }, rate }));
  const cost = ({ tile, rate }: typeof tiles[number]) => threads(tile) / rate;
  const [best] = tiles
    .filter(({ tile }) => !half && tileBytes(tile) <= workgroupBytes && threads(tile) >= ENOUGH_THREADS)
    .sort((a, b) => cost(a) - cost(b));
  if (best) return { tile: best.tile, splits: 1 };
  const tile = { rows: 2, columns: 1, depth: 16, half };
  if (!splittable) return { tile, splits: 1 };
  // At least eight turns of the loop a part: shorter ones do not pay for the addition.
  const most = Math.max(1, Math.floor(k / (8 * tile.depth)));
  return { tile, splits: Math.min(most, 16, Math.ceil(ENOUGH_THREADS / threads(tile))) };
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

/** Text of one operand's way into workgroup memory: through registers, so that loads overlap products. */
interface Loader {
  /** Indices and registers, before the loop; `first` is the first summed row of this part. */
  readonly declare: string;
  /** Registers from memory, for summed rows `k` on of the current tap. */
  readonly load: string;
  /** Workgroup memory from registers. */
  readonly store: string;
  /** Indices on to the next block. */
  readonly advance: string;
}

/**
 * Loads `count` values a thread, `apart` summed rows apart. Rows past the last of a tap are zeros where taps are
 * `ragged`, that is not whole blocks.
 */
function loader(operand: {
  readonly name: "a" | "b";
  readonly depth: number;
  readonly count: number;
  readonly apart: number;
  readonly zero: string;
  readonly ragged: boolean;
  readonly declare: string;
  readonly value: (index: string) => string;
  readonly store: (row: string, value: string) => string;
}): Loader {
  const { name, depth, count, apart, zero, ragged, declare, value, store } = operand;
  const row = (i: number) => i === 0 ? `${name}k` : `${name}k + ${i * apart}`;
  const index = (i: number) => i === 0 ? `${name}_index` : `${name}_index + ${i * apart} * size.${name}_pitch`;
  return {
    declare: `${declare}\n${unroll(count, (i) => `var r${name}${i} = ${zero};`)}`,
    load: unroll(count, (i) => {
      const loaded = value(index(i));
      return `r${name}${i} = ${ragged ? `select(${zero}, ${loaded}, k + ${row(i)} < size.k)` : loaded};`;
    }),
    store: unroll(count, (i) => store(row(i), `r${name}${i}`)),
    advance: `${name}_index += ${depth} * size.${name}_pitch;`,
  };
}

/** Quads of `a`; GEGLU, whose `m0` counts values and gates, interleaves four quads of values with four of their gates. */
function loadA(tile: ProductTile, ragged: boolean, geglu: boolean): Loader {
  const quads = 8 * tile.rows;
  const threads = 32 * tile.rows * tile.columns;
  const quad = geglu ? "m0 / 8 + (ax / 8) * 4 + ax % 4 + select(0, size.m / 4, ax % 8 >= 4)" : "m0 / 4 + ax";
  return loader({
    name: "a",
    depth: tile.depth,
    count: tile.depth * quads / threads,
    apart: threads / quads,
    zero: "vec4<f32>()",
    ragged,
    declare: `let ax = t % ${quads}; let ak = t / ${quads};
var a_index = (size.a_row + z.a_row + tap * size.k + k + ak) * size.a_pitch + z.a_quad + ${quad};`,
    value: (index) => `a_at(${index})`,
    store: (row, value) => `a_tile[s][${row}][ax] = V(${value});`,
  });
}

function loadB(tile: ProductTile, ragged: boolean, softmax: boolean): Loader {
  const quads = 16 * tile.columns;
  const threads = 32 * tile.rows * tile.columns;
  return loader({
    name: "b",
    depth: tile.depth,
    count: tile.depth * quads / threads,
    apart: threads / quads,
    zero: "vec4<f32>()",
    ragged,
    declare: `let bx = t % ${quads}; let bk = t / ${quads};
${softmax ? "let maximum = rows_load(4 * i32(group.z), n0 / 4 + bx);" : ""}
var b_index = (size.b_row + z.b_row + k + bk) * size.b_pitch + z.b_quad + n0 / 4 + bx;`,
    value: (index) => softmax ? `exp(b_at(${index}) * size.scale - maximum)` : `b_at(${index})`,
    store: (row, value) => `b_tile[s][${row}][bx] = V(${value});`,
  });
}

/** One column a thread, or every `parts`-th summed row of it. */
function loadWindow(tile: ProductTile, ragged: boolean): Loader {
  const columns = 64 * tile.columns;
  const parts = 32 * tile.rows * tile.columns / columns;
  return loader({
    name: "b",
    depth: tile.depth,
    count: tile.depth / parts,
    apart: parts,
    zero: "0.0",
    ragged,
    declare: `let bx = t % ${columns}; let bk = t / ${columns}; var column = input_column(n0 + bx, tap);
let b_first = (size.b_row + bk) * size.b_pitch;
var b_index = b_first + k * size.b_pitch + column;`,
    value: (index) => `select(0.0, b_at(${index}), column >= 0)`,
    store: (row, value) => `b_tile[s][${row}][bx >> 2u][bx & 3] = E(${value});`,
  });
}

/** The products of one tile, 8 x 8 outputs a thread; in float16 summed for one tile, then added in float32. */
function multiplyText({ depth, half }: ProductTile): string {
  const sum = half ? "h" : "c";
  const eachSum = (text: (name: string) => string) => unroll(8, (r) => text(`${r}_0`) + " " + text(`${r}_1`));
  const products = unroll(depth, (k) =>
    `{
let a0 = a_tile[s][${k}][xa]; let a1 = a_tile[s][${k}][xa + 4]; let b0 = b_tile[s][${k}][xb]; let b1 = b_tile[s][${k}][xb + 8];
${
      unroll(
        8,
        (r) => [0, 1].map((j) => `${sum}${r}_${j} = fma(V(a${r >> 2}[${r & 3}]), b${j}, ${sum}${r}_${j});`).join(" "),
      )
    }
}`);
  if (!half) return products;
  return `${eachSum((name) => `var h${name} = V();`)}
${products}
${eachSum((name) => `c${name} += vec4<f32>(h${name});`)}`;
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

/** What changes when the summed rows of a tap are through: rows of `a` go on, those of `b` start again. */
function nextTapText(window: boolean, ragged: boolean): string {
  if (!window) return "";
  return `if (k >= size.k) {
  ${ragged ? "a_index += (size.k - k) * size.a_pitch;" : ""}
  k = 0;
  tap += 1;
  column = input_column(n0 + bx, tap);
  b_index = b_first + column;
}`;
}

/**
 * See {@link Family.product}. Products are float16 only where the weights are: their rounding is of the same size.
 */
export function product(
  spec: ProductSpec,
  { half, workgroupBytes }: Pick<CutShape, "half" | "workgroupBytes">,
): readonly Launch[] {
  const { a, out, window } = spec;
  const cut = chooseCut({
    m: spec.activation === "geglu" ? 2 * spec.m : spec.m,
    n: spec.batch ? spec.n : layoutOf(out).stride,
    k: spec.k * (window ? window.size ** 2 : 1),
    batches: spec.batch ? spec.batch.outer * spec.batch.inner : 1,
    splittable: !spec.batch && spec.activation !== "geglu" && !spec.softmax,
    half: half && layoutOf(a).element === "f16",
    workgroupBytes,
  });
  return cutProduct(spec, cut);
}

/** {@link product} with a given cut. */
export function cutProduct(spec: ProductSpec, { tile, splits }: Cut): readonly Launch[] {
  const { a, b, out, window, softmax } = spec;
  const batch = spec.batch ?? SINGLE;
  const geglu = spec.activation === "geglu";
  const n = spec.batch ? spec.n : layoutOf(out).stride;
  const m = geglu ? 2 * spec.m : spec.m;
  const batches = batch.outer * batch.inner;
  const taps = window ? window.size ** 2 : 1;
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
  const ragged = spec.k % tile.depth !== 0;
  const loaders = [
    loadA(tile, ragged, geglu),
    window ? loadWindow(tile, ragged) : loadB(tile, ragged, softmax !== undefined),
  ];
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
alias E = ${tile.half ? "f16" : "f32"};
alias V = vec4<E>;
var<workgroup> a_tile: array<array<array<V, ${8 * tile.rows}>, ${tile.depth}>, 2>;
var<workgroup> b_tile: array<array<array<V, ${16 * tile.columns}>, ${tile.depth}>, 2>;
${indexAccess("a", a)}
${indexAccess("b", b, window !== undefined)}
${window ? WINDOW_TEXT : ""}
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
  let blocks_of_tap = (size.k + ${tile.depth - 1}) / ${tile.depth};
  let share = (blocks_of_tap * size.taps + size.splits - 1) / size.splits;
  var block = part * share;
  let end = min(block + share, blocks_of_tap * size.taps);
  var tap = block / blocks_of_tap;
  var k = (block % blocks_of_tap) * ${tile.depth};
  var s = 0;
  ${each("declare")}
  if (block < end) {
    ${each("load")}
  }
  ${each("store")}
  workgroupBarrier();
  loop {
    block += 1;
    k += ${tile.depth};
    ${each("advance")}
    ${nextTapText(window !== undefined, ragged)}
    if (block < end) {
      ${each("load")}
    }
    ${multiplyText(tile)}
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
        a_pitch: layoutOf(a).stride / 4,
        b_pitch: layoutOf(b).stride / (window ? 1 : 4),
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
      enable: tile.half ? ["f16"] : [],
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
