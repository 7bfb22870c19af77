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
import type { Tensor } from "../tensor.ts";
import { epilogueOf, type EpilogueText } from "./epilogue.ts";
import { layoutOf, writing } from "./layout.ts";
import { loadMatrix, matrixTypes, type MatrixUnit, multiplyAdd, storeMatrix } from "./matrix.ts";
import { addParts, batchSizes, OFFSETS_TEXT, partialSums, windowSizes } from "./product.ts";
import { EIGHT, windowReader } from "./matrix_window.ts";

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

/** Threads of a workgroup. */
export function threadsOf({ rows, columns, subgroupRows, subgroupColumns }: MatrixTile, { lanes }: MatrixUnit): number {
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

/** Where a product is cut, and how its operands are read; see {@link ProductSpec} for its letters. */
export interface MatrixCut {
  readonly unit: MatrixUnit;
  readonly tile: MatrixTile;
  /** Parts of the summed rows, added up by a second launch. */
  readonly splits: number;
}

/** Matrices of sums of a subgroup, below and beside each other. */
function sumsOf({ unit: { shape }, tile }: MatrixCut): readonly [high: number, wide: number] {
  return [tile.subgroupRows / shape.m, tile.subgroupColumns / shape.n];
}

function eachSum(cut: MatrixCut, text: (i: number, j: number) => string): string {
  const [high, wide] = sumsOf(cut);
  return unroll(high * wide, (x) => text(Math.floor(x / wide), x % wide));
}

/** The products of one turn: of each subgroup's rows of one tile with its columns of the other. */
function multiplyText(cut: MatrixCut): string {
  const { unit: { shape: { m, n, k } }, tile: { rows, columns, depth } } = cut;
  const [high, wide] = sumsOf(cut);
  const [pitchA, pitchB] = [pitchOf(rows), pitchOf(columns)];
  const left = (i: number, kk: number) =>
    loadMatrix("Left", "shared_tile", {
      offset: `turn + ${kk * k * pitchA} + (row_first + ${i * m}) / 8`,
      stride: pitchA,
      order: "col_major",
    });
  const right = (j: number, kk: number) =>
    loadMatrix("Right", "shared_tile", {
      offset: `turn + ${(depth * pitchA) + kk * k * pitchB} + (column_first + ${j * n}) / 8`,
      stride: pitchB,
      order: "row_major",
    });
  return unroll(depth / k, (kk) =>
    `{
${unroll(wide, (j) => `let b${j} = ${right(j, kk)};`)}
${
      unroll(high, (i) =>
        `{ let a = ${left(i, kk)};
${unroll(wide, (j) => `c${i}_${j} = ${multiplyAdd("a", `b${j}`, `c${i}_${j}`)};`)} }`)
    }
}`);
}

/** What happens to four sums: their epilogue and their store; or, of a split product, the store alone. */
function storeText(spec: ProductSpec, epilogue: EpilogueText | undefined): string {
  if (!epilogue) return "partial[(part * size.m + row) * size.n_quads + quad] = sum;";
  const biased = (sum: string, row: string) => spec.bias ? `${sum} + ${epilogue.bias(row, "at")}` : sum;
  const gate = spec.activation === "geglu" && { gate: biased("gate", "row + size.m") };
  const value = epilogue.apply(biased("sum", "row"), { row: "row", quad: "at", ...gate });
  return `let at = z.out_quad + quad; out_store(out_at(z.out_row + row, at), ${value});`;
}

/** The sums by way of workgroup memory, a row of matrices at a time, to where they belong. */
function finishText(spec: ProductSpec, cut: MatrixCut, epilogue: EpilogueText | undefined): string {
  const { unit: { shape: { m, n }, lanes }, tile } = cut;
  const geglu = spec.activation === "geglu";
  const [high, wide] = sumsOf(cut);
  /** Rows of matrices: GEGLU's values, then their gates. */
  const count = geglu ? 2 : 1;
  const pitch = stagedPitch(tile);
  const quads = tile.subgroupColumns / 4;
  const stage = (i: number) =>
    unroll(count * wide, (x) => {
      const [row, j] = [Math.floor(x / wide), x % wide];
      const offset = `stage + ${row * m * pitch + j * n / 4}`;
      return storeMatrix("shared_tile", `c${i * count + row}_${j}`, { offset, stride: pitch, order: "row_major" });
    });
  return `let stage = subgroup * ${count * m * pitch};
${
    unroll(high / count, (i) =>
      `${stage(i)}
  workgroupBarrier();
  for (var e = lane; e < ${m * quads}; e += ${lanes}) {
    let staged_at = stage + e / ${quads} * ${pitch} + e % ${quads};
    let row = (m0 + row_first) / ${count} + ${i * m} + e / ${quads};
    let quad = (n0 + column_first) / 4 + e % ${quads};
    if (row < size.m && quad < size.n_quads) {
      let sum = bitcast<vec4<f32>>(shared_tile[staged_at]);
      ${geglu ? `let gate = bitcast<vec4<f32>>(shared_tile[staged_at + ${m * pitch}]);` : ""}
      ${storeText(spec, epilogue)}
    }
  }
  workgroupBarrier();`)
  }`;
}

/** See {@link Backend.product}, with float16 operands. */
export function matrixProduct(spec: ProductSpec, cut: MatrixCut): readonly Launch[] {
  const { a, b, out, window } = spec;
  const { unit, tile, splits } = cut;
  const { shape } = unit;
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

  /** Text of one operand's way into its tile: places, registers, loads and stores. */
  const loader = (name: "a" | "b", across: number, value: (row: string, i: number) => string) => {
    const eighths = across / EIGHT;
    const first = name === "a" ? 0 : depth * pitchOf(rows);
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
  const wideA = isWide(a, batch.a) && (!geglu || spec.m % EIGHT === 0);

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
  ${eachSum(cut, (i, j) => `var c${i}_${j} = Sum();`)}
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
    ${multiplyText(cut)}
    ${double ? "" : "workgroupBarrier();"}
    if (block >= end) { break; }
    ${double ? `turn = ${turnElements(tile)} - turn;` : ""}
  }
  ${double ? "workgroupBarrier();" : ""}
  ${finishText(spec, cut, epilogue)}
}`;
  const main = launch({
    name: `${window ? `convolution${window.size}` : "product"} ${spec.m}x${n}x${spec.k}`,
    operands: [
      eights("a", a, wideA),
      reader ? reader.operands : eights("b", b, isWide(b, batch.b)),
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
