/**
 * Text of the tiles of a product: how operands reach workgroup memory, and how they are multiplied there.
 * @module
 */
import { unroll } from "../kernel.ts";
import type { ProductTile } from "./product_cut.ts";

/**
 * Tiles of both operands, twice each. In float32 a thread owns two quads of rows and two of columns, half a warp's tile
 * apart; in float16 eight rows and eight columns in one piece each, since 16 bytes are one load from workgroup memory.
 */
export function tileText({ rows, columns, depth, half }: ProductTile): string {
  const tile = (quads: number) =>
    half
      ? `array<array<array<array<V, 2>, ${quads / 2}>, ${depth}>, 2>`
      : `array<array<array<V, ${quads}>, ${depth}>, 2>`;
  return `alias E = ${half ? "f16" : "f32"};
alias V = vec4<E>;
var<workgroup> a_tile: ${tile(8 * rows)};
var<workgroup> b_tile: ${tile(16 * columns)};`;
}

/** Where a thread's operands lie in the tiles, `xa` and `xb`, and its outputs in `out`. */
export function placeText({ half }: ProductTile, geglu: boolean): string {
  // GEGLU's tiles interleave four quads of values with four of their gates: a thread needs both.
  if (!half) {
    return `let xa = row_warp * 8 + y;
let xb = column_warp * 16 + x;
let quad0 = n0 / 4 + xb; let quad1 = quad0 + 8;
let row_first = m0${geglu ? " / 2 + row_warp * 16 + y * 4" : " + xa * 4"};`;
  }
  return `let xa = row_warp * 4 + y;
let xb = column_warp * 8 + x;
let quad0 = n0 / 4 + xb * 2; let quad1 = quad0 + 1;
let row_first = m0${geglu ? " / 2 + xa * 4" : " + xa * 8"};`;
}

/** Element `quad` of a summed row of a tile. */
function tileElement({ half }: ProductTile, name: "a" | "b", row: string, quad: string): string {
  return half ? `${name}_tile[s][${row}][(${quad}) >> 1u][(${quad}) & 1]` : `${name}_tile[s][${row}][${quad}]`;
}

/** The pixel under one tap, one column a thread: its place is computed once a tap, not once a channel. */
export const WINDOW_TEXT = `
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
export interface Loader {
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

/** Quads of `a`; GEGLU, whose `m0` counts values and gates, puts each thread's quad of values before that of gates. */
export function loadA(tile: ProductTile, ragged: boolean, geglu: boolean): Loader {
  const quads = 8 * tile.rows;
  const threads = 32 * tile.rows * tile.columns;
  const interleaved = tile.half
    ? "m0 / 8 + ax / 2 + select(0, size.m / 4, ax % 2 == 1)"
    : "m0 / 8 + (ax / 8) * 4 + ax % 4 + select(0, size.m / 4, ax % 8 >= 4)";
  const quad = geglu ? interleaved : "m0 / 4 + ax";
  return loader({
    name: "a",
    depth: tile.depth,
    count: tile.depth * quads / threads,
    apart: threads / quads,
    zero: "V()",
    ragged,
    declare: `let ax = t % ${quads}; let ak = t / ${quads};
var a_index = (size.a_row + z.a_row + tap * size.k + k + ak) * size.a_pitch + z.a_quad + ${quad};`,
    value: (index) => `a_get(${index})`,
    store: (row, value) => `${tileElement(tile, "a", row, "ax")} = ${value};`,
  });
}

export function loadB(tile: ProductTile, ragged: boolean, softmax: boolean): Loader {
  const quads = 16 * tile.columns;
  const threads = 32 * tile.rows * tile.columns;
  return loader({
    name: "b",
    depth: tile.depth,
    count: tile.depth * quads / threads,
    apart: threads / quads,
    zero: "V()",
    ragged,
    declare: `let bx = t % ${quads}; let bk = t / ${quads};
${softmax ? "let maximum = rows_load(4 * i32(group.z), n0 / 4 + bx);" : ""}
var b_index = (size.b_row + z.b_row + k + bk) * size.b_pitch + z.b_quad + n0 / 4 + bx;`,
    value: (index) => softmax ? `V(exp(b_get(${index}) * size.scale - maximum))` : `b_get(${index})`,
    store: (row, value) => `${tileElement(tile, "b", row, "bx")} = ${value};`,
  });
}

/** One column a thread, or every `parts`-th summed row of it. */
export function loadWindow(tile: ProductTile, ragged: boolean): Loader {
  const columns = 64 * tile.columns;
  const parts = 32 * tile.rows * tile.columns / columns;
  return loader({
    name: "b",
    depth: tile.depth,
    count: tile.depth / parts,
    apart: parts,
    zero: "E()",
    ragged,
    declare: `let bx = t % ${columns}; let bk = t / ${columns}; var column = input_column(n0 + bx, tap);
let b_first = (size.b_row + bk) * size.b_pitch;
var b_index = b_first + k * size.b_pitch + max(column, 0);`,
    value: (index) => `select(E(), b_get(${index}), column >= 0)`,
    store: (row, value) => `${tileElement(tile, "b", row, "bx >> 2u")}[bx & 3] = ${value};`,
  });
}

/** The sums of a thread: 8 rows of two quads. */
const SUMS = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((r) => [`c${r}_0`, `c${r}_1`]);

/**
 * The products of one summed row of the tiles, 8 x 8 outputs a thread. Each has a function of its own: to check one, naga
 * takes a time that grows with the square of its statements (41 % less for all of Stable Diffusion's shaders).
 */
export function productText({ depth, half }: ProductTile): string {
  const operands = (k: number) =>
    half
      ? `let a0 = a_tile[s][${k}][xa][0]; let a1 = a_tile[s][${k}][xa][1];
let b0 = b_tile[s][${k}][xb][0]; let b1 = b_tile[s][${k}][xb][1];`
      : `let a0 = a_tile[s][${k}][xa]; let a1 = a_tile[s][${k}][xa + 4];
let b0 = b_tile[s][${k}][xb]; let b1 = b_tile[s][${k}][xb + 8];`;
  const products = unroll(
    8,
    (r) => [0, 1].map((j) => `(*sums).c${r}_${j} = fma(V(a${r >> 2}[${r & 3}]), b${j}, (*sums).c${r}_${j});`).join(" "),
  );
  return `struct Sums { ${SUMS.map((name) => `${name}: V`).join(", ")} }
${
    unroll(depth, (k) =>
      `fn multiply${k}(s: i32, xa: i32, xb: i32, sums: ptr<function, Sums>) {
${operands(k)}
${products}
}`)
  }`;
}

/** The products of one tile; in float16 summed for one tile, then added in float32. */
export function multiplyText({ depth, half }: ProductTile): string {
  return `var sums = Sums(${half ? "" : SUMS.join(", ")});
${unroll(depth, (k) => `multiply${k}(s, xa, xb, &sums);`)}
${SUMS.map((name) => half ? `${name} += vec4<f32>(sums.${name});` : `${name} = sums.${name};`).join("\n")}`;
}

/** What changes when the summed rows of a tap are through: rows of `a` go on, those of `b` start again. */
export function nextTapText(window: boolean, ragged: boolean): string {
  if (!window) return "";
  return `if (k >= size.k) {
  ${ragged ? "a_index += (size.k - k) * size.a_pitch;" : ""}
  k = 0;
  tap += 1;
  column = input_column(n0 + bx, tap);
  b_index = b_first + max(column, 0);
}`;
}
