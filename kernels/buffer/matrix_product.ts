/**
 * Products and convolutions on matrices of a subgroup (tensor cores): float16 operands, float32 sums.
 *
 * Both operands have the summed index outermost, so tiles are plain copies of 16 bytes into workgroup memory; those of
 * the next turn are on their way in registers while this turn's are multiplied. Rows of tiles have 16 bytes of padding,
 * which is worth 1.7 times (H200). Sums go through workgroup memory, a row of matrices at a time, to get their epilogue:
 * what lies where in a matrix is the GPU's own matter.
 * @module
 */
import { type ProductSpec, SINGLE } from "../backend.ts";
import type { MatrixShape } from "../device.ts";
import { unroll } from "../kernel.ts";
import { bufferOperand, type Launch, launch, type Operands } from "../launch.ts";
import type { Memory, Tensor } from "../tensor.ts";
import { pixels } from "../tensor.ts";
import { epilogueOf, type EpilogueText } from "./epilogue.ts";
import { layoutOf, writing } from "./layout.ts";
import { loadMatrix, matrixTypes, multiplyAdd, storeMatrix } from "./matrix.ts";
import { addParts, batchSizes, OFFSETS_TEXT, partialSums, windowSizes } from "./product.ts";
import { WINDOW_TEXT } from "./product_tiles.ts";

/** How a product is cut into workgroups and their subgroups. */
export interface MatrixTile {
  /** Rows and columns of the output of a workgroup. */
  readonly rows: number;
  readonly columns: number;
  /** Those of a subgroup. */
  readonly subgroupRows: number;
  readonly subgroupColumns: number;
  /** Summed rows of a turn of the loop. */
  readonly depth: number;
  /** Whether there is room for the next turn's tiles beside this turn's: one barrier a turn instead of two. */
  readonly double: boolean;
}

/** What an adapter multiplies matrices with. */
export interface MatrixUnit {
  readonly shape: MatrixShape;
  /** Lanes of a subgroup. */
  readonly lanes: number;
}

/** Halves that are loaded at once. */
const EIGHT = 8;

function threadsOf({ rows, columns, subgroupRows, subgroupColumns }: MatrixTile, { lanes }: MatrixUnit): number {
  return rows / subgroupRows * (columns / subgroupColumns) * lanes;
}

/** Elements of 16 bytes from one row of a tile to the next. */
function pitchOf(columns: number): number {
  return columns / EIGHT + 1;
}

/** Rows of sums that a subgroup brings into workgroup memory at once; GEGLU's values need their gates. */
function stagedRows({ m }: MatrixShape, geglu: boolean): number {
  return geglu ? 2 * m : m;
}

/** Elements of 16 bytes of the tiles of one turn. */
function turnElements({ rows, columns, depth }: MatrixTile): number {
  return depth * (pitchOf(rows) + pitchOf(columns));
}

/** Elements of 16 bytes that a workgroup needs: of tiles, and later, in the same place, of sums on their way out. */
function sharedElements(tile: MatrixTile, unit: MatrixUnit, geglu: boolean): number {
  const tiles = turnElements(tile) * (tile.double ? 2 : 1);
  const subgroups = threadsOf(tile, unit) / unit.lanes;
  return Math.max(tiles, subgroups * stagedRows(unit.shape, geglu) * stagedPitch(tile));
}

/** Workgroup memory in bytes. */
export function matrixTileBytes(tile: MatrixTile, unit: MatrixUnit, geglu: boolean): number {
  return 16 * sharedElements(tile, unit, geglu);
}

/** Elements of four sums from one staged row to the next. */
function stagedPitch({ subgroupColumns }: MatrixTile): number {
  return subgroupColumns / 4 + 1;
}

/** Whether every row of an operand begins at a multiple of 16 bytes, so that eight values are one load. */
function isWide(x: Tensor, strides: readonly { readonly columns: number }[]): boolean {
  return [layoutOf(x).stride, ...strides.map(({ columns }) => columns)].every((columns) => columns % EIGHT === 0);
}

/**
 * WGSL `NAME_eight(row, quad) -> vec4<u32>`: eight neighbouring values of a row from a quad on. Those past the last
 * column are whatever lies there: nobody reads what becomes of them.
 */
function eights(name: "a" | "b", x: Tensor, wide: boolean): Operands {
  const { stride, bytes } = layoutOf(x);
  const sizes = {
    [`${name}_row`]: x.firstRow,
    [`${name}_pitch`]: stride / (wide ? 8 : 4),
    [`${name}_last`]: Math.floor(bytes / (wide ? 16 : 8)) - 1,
  };
  const text = wide
    ? `fn ${name}_eight(row: i32, quad: i32) -> vec4<u32> {
  return ${name}[min((size.${name}_row + row) * size.${name}_pitch + (quad >> 1u), size.${name}_last)];
}`
    : `fn ${name}_eight(row: i32, quad: i32) -> vec4<u32> {
  let at = (size.${name}_row + row) * size.${name}_pitch + quad;
  return vec4<u32>(${name}[min(at, size.${name}_last)], ${name}[min(at + 1, size.${name}_last)]);
}`;
  return { ...bufferOperand(name, x.memory, wide ? "vec4<u32>" : "vec2<u32>"), sizes, text };
}

/** How the pixels under the taps of a convolution are read, eight output columns at a time. */
interface WindowReader {
  readonly operands: Operands;
  /** Once, before the loop: places of the thread's eight columns from `n` on. */
  readonly declare: string;
  /** What changes with the tap. */
  readonly place: string;
  /** WGSL of the eight values in a row of the input. */
  readonly value: (row: string) => string;
}

/**
 * Rows of pixels in pieces of eight, for windows of 3x3 that keep the size or double it first: the eight pixels under
 * the middle tap are one load, those under its neighbours the same load shifted by one pixel.
 */
function readPieces(input: Tensor, doubled: boolean): WindowReader {
  const { stride, bytes } = layoutOf(input);
  return {
    operands: {
      ...bufferOperand("b", input.memory, doubled ? "vec2<u32>" : "vec4<u32>"),
      sizes: { b_row: input.firstRow, b_pitch: stride / (doubled ? 4 : 8), b_last: bytes / (doubled ? 8 : 16) - 1 },
      text: `
fn b_piece(at: i32) -> ${doubled ? "vec2<u32>" : "vec4<u32>"} { return b[clamp(at, 0, size.b_last)]; }
/** Eight values of a row of the input from the piece at \`at\` on, \`shift\` pixels to the right. */
fn b_shifted(at: i32, shift: i32, first: bool, last: bool) -> vec4<u32> {
  let piece = b_piece(at);
  ${
        doubled
          ? `let low = piece & vec2<u32>(0xffffu); let high = piece >> vec2<u32>(16u);
  let middle = vec4<u32>(low.x, high.x, low.y, high.y) * 0x10001u;`
          : "let middle = piece;"
      }
  if (shift == 0) { return middle; }
  if (shift < 0) {
    let before = select(b_piece(at - 1).${doubled ? "y" : "w"} >> 16u, 0u, first);
    return (middle << vec4<u32>(16u)) | vec4<u32>(before, middle.xyz >> vec3<u32>(16u));
  }
  let after = select(b_piece(at + 1).x << 16u, 0u, last);
  return (middle >> vec4<u32>(16u)) | vec4<u32>(middle.yzw << vec3<u32>(16u), after);
}`,
    },
    declare: `let pixel = b_column % size.output_sample;
let image_row = pixel / size.output_width;
let image_column = pixel % size.output_width;
let sample_piece = b_column / size.output_sample * size.input_sample;
let first = image_column == 0; let last = image_column + 8 >= size.output_width;
var piece = 0; var shift = 0; var inside = false;`,
    place: `shift = tap % 3 - 1;
let y = image_row + tap / 3 - 1;
inside = b_column < size.n && y >= 0 && y < size.image_height;
piece = (sample_piece + (y >> u32(size.upsample_shift)) * size.input_row + (image_column >> u32(size.upsample_shift)))
  / ${doubled ? 4 : 8};`,
    value: (row) =>
      `select(vec4<u32>(), b_shifted((size.b_row + ${row}) * size.b_pitch + piece, shift, first, last), inside)`,
  };
}

/** One pixel at a time, for all other windows. */
function readPixels(input: Tensor): WindowReader {
  const { stride } = layoutOf(input);
  const lanes = Array.from({ length: EIGHT }, (_, i) => i);
  return {
    operands: {
      ...bufferOperand("b", input.memory, "f16"),
      sizes: { b_row: input.firstRow, b_pitch: stride },
      text: `${WINDOW_TEXT}
fn b_pixel(row: i32, column: i32) -> f16 {
  return select(0.0h, b[(size.b_row + row) * size.b_pitch + max(column, 0)], column >= 0);
}`,
    },
    declare: lanes.map((i) => `var column${i} = -1;`).join(" "),
    place: lanes.map((i) => `column${i} = input_column(b_column + ${i}, tap);`).join(" "),
    value: (row) => {
      const pair = (i: number) =>
        `bitcast<u32>(vec2<f16>(b_pixel(${row}, column${i}), b_pixel(${row}, column${i + 1})))`;
      return `vec4<u32>(${pair(0)}, ${pair(2)}, ${pair(4)}, ${pair(6)})`;
    },
  };
}

function windowReader(spec: ProductSpec): WindowReader {
  const { b, out, window } = spec;
  const { size, stride, pad, upsample, imageWidth, outputWidth } = window!;
  const keeps = size === 3 && stride === 1 && pad === 1 && imageWidth === outputWidth && outputWidth % EIGHT === 0 &&
    out.height === window!.imageHeight && window!.inputWidth * upsample === imageWidth;
  const aligned = [pixels(b), layoutOf(b).stride].every((columns) => columns % (EIGHT / upsample) === 0);
  return keeps && aligned ? readPieces(b, upsample === 2) : readPixels(b);
}

/** Where a product is cut, and how its operands are read; see {@link ProductSpec} for its letters. */
export interface MatrixCut {
  readonly unit: MatrixUnit;
  readonly tile: MatrixTile;
  /** Parts of the summed rows, added up by a second launch. */
  readonly splits: number;
}

/** What happens to the sums that a subgroup has staged: their epilogue and their store. */
function storeText(spec: ProductSpec, epilogue: EpilogueText | undefined, gate: string): string {
  if (!epilogue) return "partial[(part * size.m + row) * size.n_quads + quad] = sum;";
  const geglu = spec.activation === "geglu";
  const biased = (sum: string, row: string) => spec.bias ? `${sum} + ${epilogue.bias(row, "at")}` : sum;
  const value = epilogue.apply(biased("sum", "row"), {
    row: "row",
    quad: "at",
    ...(geglu && { gate: biased(gate, "row + size.m") }),
  });
  return `let at = z.out_quad + quad; out_store(out_at(z.out_row + row, at), ${value});`;
}

/** See {@link Backend.product}, with float16 operands. */
export function matrixProduct(spec: ProductSpec, { unit, tile, splits }: MatrixCut): readonly Launch[] {
  const { a, b, out, window } = spec;
  const { shape, lanes } = unit;
  const { rows, columns, depth, subgroupRows, subgroupColumns, double } = tile;
  const batch = spec.batch ?? SINGLE;
  const geglu = spec.activation === "geglu";
  const n = spec.batch ? spec.n : layoutOf(out).stride;
  const m = geglu ? 2 * spec.m : spec.m;
  const quads = Math.ceil(n / 4);
  const threads = threadsOf(tile, unit);
  const ragged = spec.k % depth !== 0;
  // A split product leaves its epilogue to the addition.
  const partial = splits > 1 ? partialSums(spec, splits, quads) : undefined;
  const epilogue = partial ? undefined : epilogueOf(spec);
  const reader = window && windowReader(spec);
  const [pitchA, pitchB] = [pitchOf(rows), pitchOf(columns)];
  const [high, wide] = [subgroupRows / shape.m, subgroupColumns / shape.n];
  const firstB = depth * pitchA;
  const staged = stagedRows(shape, geglu);

  /** Text of one operand's way into its tile: places, registers, loads and stores. */
  const loader = (name: "a" | "b", across: number, value: (row: string, i: number) => string) => {
    const eighths = across / EIGHT;
    const first = name === "a" ? 0 : firstB;
    const each = (text: (i: number, row: string) => string) =>
      unroll(depth * eighths / threads, (i) => text(i, `${name}_k${i}`));
    return {
      declare: each((i, row) =>
        `let ${name}_x${i} = (t + ${i * threads}) % ${eighths}; let ${row} = (t + ${i * threads}) / ${eighths};
var ${name}${i} = vec4<u32>();`
      ),
      load: each((i, row) =>
        ragged
          ? `{ let row = k + ${row}; ${name}${i} = select(vec4<u32>(), ${
            value("min(row, size.k - 1)", i)
          }, row < size.k); }`
          : `${name}${i} = ${value(`(k + ${row})`, i)};`
      ),
      store: each((i, row) => `shared_tile[turn + ${first} + ${row} * ${eighths + 1} + ${name}_x${i}] = ${name}${i};`),
      each,
    };
  };
  // GEGLU's tiles take turns: one matrix of rows of values, then one of their gates.
  const sourceRow = (x: string) =>
    geglu
      ? `m0 / 2 + ${x} * 8 / ${
        2 * shape.m
      } * ${shape.m} + ${x} * 8 % ${shape.m} + select(0, size.m, ${x} * 8 / ${shape.m} % 2 == 1)`
      : `m0 + ${x} * 8`;
  const loadA = loader("a", rows, (row, i) => `a_eight(z.a_row + tap * size.k + ${row}, a_quad${i})`);
  // Its threads keep to their columns, since a window's places are dear.
  const loadB = loader("b", columns, reader ? reader.value : (row) => `b_eight(z.b_row + ${row}, b_quad)`);
  const [wideA, wideB] = [a, b].map((x, i) =>
    isWide(x, batch[i === 0 ? "a" : "b"]) && (i === 1 || !geglu || spec.m % 8 === 0)
  );

  const sums = (text: (i: number, j: number) => string) =>
    unroll(high * wide, (x) => text(Math.floor(x / wide), x % wide));
  const body = `
${OFFSETS_TEXT}
${matrixTypes(shape)}
var<workgroup> shared_tile: array<vec4<u32>, ${sharedElements(tile, unit, geglu)}>;
@compute @workgroup_size(${threads})
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup_index: u32, @builtin(subgroup_invocation_id) lane_index: u32
) {
  let t = i32(thread);
  let subgroup = i32(subgroup_index);
  let lane = i32(lane_index);
  let part = i32(group.z) % size.splits;
  let z = offsets(i32(group.z) / size.splits);
  let m0 = i32(group.x) * ${rows};
  let n0 = i32(group.y) * ${columns};
  let row_first = subgroup / ${columns / subgroupColumns} * ${subgroupRows};
  let column_first = subgroup % ${columns / subgroupColumns} * ${subgroupColumns};
  ${sums((i, j) => `var c${i}_${j} = Sum();`)}
  // The summed rows of all taps, in blocks that never cross a tap; this part's share of the blocks.
  let blocks_of_tap = (size.k + ${depth - 1}) / ${depth};
  let share = (blocks_of_tap * size.taps + size.splits - 1) / size.splits;
  var block = part * share;
  let end = min(block + share, blocks_of_tap * size.taps);
  var tap = block / blocks_of_tap;
  var k = (block % blocks_of_tap) * ${depth};
  ${double ? "var" : "let"} turn = 0;
  ${loadA.declare}
  ${loadA.each((i) => `let a_quad${i} = z.a_quad + (${sourceRow(`a_x${i}`)}) / 4;`)}
  ${loadB.declare}
  let b_column = n0 + b_x0 * 8;
  ${reader ? `${reader.declare} { ${reader.place} }` : "let b_quad = z.b_quad + b_column / 4;"}
  if (block < end) {
    ${loadA.load}
    ${loadB.load}
  }
  loop {
    ${loadA.store}
    ${loadB.store}
    workgroupBarrier();
    block += 1;
    k += ${depth};
    ${reader ? `if (k >= size.k) { k = 0; tap += 1; ${reader.place} }` : ""}
    if (block < end) {
      ${loadA.load}
      ${loadB.load}
    }
    ${
    unroll(depth / shape.k, (kk) =>
      `{
${
        unroll(wide, (j) =>
          `let b${j} = ${
            loadMatrix("Right", "shared_tile", {
              offset: `turn + ${firstB + kk * shape.k * pitchB} + (column_first + ${j * shape.n}) / 8`,
              stride: pitchB,
              order: "row_major",
            })
          };`)
      }
${
        unroll(high, (i) =>
          `{ let a = ${
            loadMatrix("Left", "shared_tile", {
              offset: `turn + ${kk * shape.k * pitchA} + (row_first + ${i * shape.m}) / 8`,
              stride: pitchA,
              order: "col_major",
            })
          };
${unroll(wide, (j) => `c${i}_${j} = ${multiplyAdd("a", `b${j}`, `c${i}_${j}`)};`)} }`)
      }
}`)
  }
    ${double ? "" : "workgroupBarrier();"}
    if (block >= end) { break; }
    ${double ? `turn = ${turnElements(tile)} - turn;` : ""}
  }
  ${double ? "workgroupBarrier();" : ""}
  let stage = subgroup * ${staged * stagedPitch(tile)};
  ${
    unroll(high * shape.m / staged, (i) =>
      `${
        unroll(staged / shape.m * wide, (x) => {
          const [row, j] = [Math.floor(x / wide), x % wide];
          return storeMatrix("shared_tile", `c${i * staged / shape.m + row}_${j}`, {
            offset: `stage + ${row * shape.m * stagedPitch(tile) + j * shape.n / 4}`,
            stride: stagedPitch(tile),
            order: "row_major",
          });
        })
      }
  workgroupBarrier();
  for (var e = lane; e < ${shape.m * subgroupColumns / 4}; e += ${lanes}) {
    let staged_row = e / ${subgroupColumns / 4};
    let staged_at = stage + staged_row * ${stagedPitch(tile)} + e % ${subgroupColumns / 4};
    let row = (m0 + row_first) / ${geglu ? 2 : 1} + ${i * shape.m} + staged_row;
    let quad = (n0 + column_first) / 4 + e % ${subgroupColumns / 4};
    if (row < size.m && quad < size.n_quads) {
      let sum = bitcast<vec4<f32>>(shared_tile[staged_at]);
      ${geglu ? `let gate = bitcast<vec4<f32>>(shared_tile[staged_at + ${shape.m * stagedPitch(tile)}]);` : ""}
      ${storeText(spec, epilogue, "gate")}
    }
  }
  workgroupBarrier();`)
  }
}`;
  const main = launch({
    name: `${window ? `convolution${window.size}` : "product"} ${spec.m}x${n}x${spec.k}`,
    operands: [
      eights("a", a, wideA!),
      reader ? reader.operands : eights("b", b, wideB!),
      partial ? bufferOperand("partial", partial, "vec4<f32>", "read_write") : writing({ out }),
      ...(epilogue ? [epilogue.operands] : []),
    ],
    sizes: {
      ...batchSizes(batch),
      ...(window && windowSizes(window, b, out)),
      m: spec.m,
      n,
      n_quads: quads,
      k: spec.k,
      taps: window ? window.size ** 2 : 1,
      splits,
    },
    half: true,
    body,
    workgroups: [Math.ceil(m / rows), Math.ceil(n / columns), batch.outer * batch.inner * splits],
  });
  return partial ? [main, addParts(spec, partial, splits, quads)] : [main];
}
