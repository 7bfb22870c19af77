/**
 * `out = a^T b` of the buffer backend: linear layers, convolutions and the products of attention.
 *
 * Both operands have the summed index outermost, so tiles of 16 summed rows are plain copies into workgroup memory,
 * double-buffered: the next tile is on its way in registers while this one is multiplied. A warp is 4 x 8 threads of
 * 8 x 8 outputs each (32 rows, 64 columns). Tiles are nested arrays indexed by literals where possible, because naga
 * clamps every dynamic index (9 % on an H100).
 * @module
 */
import { type ProductBatch, type ProductSpec, SINGLE, type Window } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { bufferOperand, type Launch, launch } from "../launch.ts";
import { type Memory, pixels, type Tensor } from "../tensor.ts";
import { epilogueOf, type EpilogueText } from "./epilogue.ts";
import { indexing, layoutOf, reading, sampleColumns, writing } from "./layout.ts";
import { chooseCut, type Cut, type CutShape, type ProductTile } from "./product_cut.ts";
import {
  loadA,
  loadB,
  type Loader,
  loadWindow,
  multiplyText,
  nextTapText,
  placeText,
  productText,
  tileText,
  WINDOW_TEXT,
} from "./product_tiles.ts";

/** WGSL of where product `z` of a batch begins in each operand. */
export const OFFSETS_TEXT = `
struct Offsets { a_row: i32, a_quad: i32, b_row: i32, b_quad: i32, out_row: i32, out_quad: i32 }
fn offsets(z: i32) -> Offsets {
  let o = z / size.inner; let i = z % size.inner;
  return Offsets(
    o * size.a_outer_rows + i * size.a_inner_rows, o * size.a_outer_quads + i * size.a_inner_quads,
    o * size.b_outer_rows + i * size.b_inner_rows, o * size.b_outer_quads + i * size.b_inner_quads,
    o * size.out_outer_rows + i * size.out_inner_rows, o * size.out_outer_quads + i * size.out_inner_quads);
}`;

export function batchSizes(batch: ProductBatch): Record<string, number> {
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

export function windowSizes(window: Window, input: Tensor, out: Tensor): Record<string, number> {
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

/** What happens to the sums: softmax sums, bias, activation, residual, store; or, of a split product, the store alone. */
function epilogueText(spec: ProductSpec, tile: ProductTile, epilogue: EpilogueText | undefined): string {
  const geglu = spec.activation === "geglu";
  const lines: string[] = [];
  if (spec.softmax) lines.push(...[0, 1].map((j) => `let sum${j} = rows_load(4 * i32(group.z) + 1, quad${j});`));
  for (let r = 0; r < (geglu ? 4 : 8); r++) {
    const row = geglu || tile.half || r < 4 ? `row_first + ${r}` : `row_first + ${r + 12}`;
    lines.push(`{ let row = ${row}; if (row < size.m) {`);
    if (!epilogue) {
      for (const j of [0, 1]) {
        lines.push(
          `if (quad${j} < size.n_quads) { partial[(part * size.m + row) * size.n_quads + quad${j}] = c${r}_${j}; }`,
        );
      }
    } else {
      const shared = spec.bias && epilogue.sharedBias;
      if (shared) lines.push(`let row_bias = ${epilogue.bias("row", "0")};`);
      if (shared && geglu) lines.push(`let gate_bias = ${epilogue.bias("row + size.m", "0")};`);
      for (const j of [0, 1]) {
        const quad = `z.out_quad + quad${j}`;
        const sum = (r: number, sharedBias: string, row: string) => {
          const value = spec.softmax ? `c${r}_${j} / sum${j}` : `c${r}_${j}`;
          return spec.bias ? `${value} + ${shared ? sharedBias : epilogue.bias(row, quad)}` : value;
        };
        const gate = geglu ? { gate: sum(r + 4, "gate_bias", "row + size.m") } : {};
        const value = epilogue.apply(sum(r, "row_bias", "row"), { row: "row", quad, ...gate });
        lines.push(`if (quad${j} < size.n_quads) { out_store(out_at(z.out_row + row, ${quad}), ${value}); }`);
      }
    }
    lines.push("} }");
  }
  return lines.join("\n");
}

/**
 * See {@link Backend.product}. Products are float16 only where both operands are: their rounding is of the same size.
 */
export function product(
  spec: ProductSpec,
  { half, workgroupBytes }: Pick<CutShape, "half" | "workgroupBytes">,
): readonly Launch[] {
  const { a, b, out, window } = spec;
  const cut = chooseCut({
    m: spec.activation === "geglu" ? 2 * spec.m : spec.m,
    n: spec.batch ? spec.n : layoutOf(out).stride,
    k: spec.k * (window ? window.size ** 2 : 1),
    batches: spec.batch ? spec.batch.outer * spec.batch.inner : 1,
    splittable: !spec.batch && spec.activation !== "geglu" && !spec.softmax,
    half: half && [a, b].every((operand) => layoutOf(operand).element === "f16"),
    workgroupBytes,
  });
  return cutProduct(spec, cut);
}

/** {@link product} with a given cut. */
function cutProduct(spec: ProductSpec, { tile, splits }: Cut): readonly Launch[] {
  const { a, b, out, window, softmax } = spec;
  const batch = spec.batch ?? SINGLE;
  const geglu = spec.activation === "geglu";
  const n = spec.batch ? spec.n : layoutOf(out).stride;
  const m = geglu ? 2 * spec.m : spec.m;
  const batches = batch.outer * batch.inner;
  const taps = window ? window.size ** 2 : 1;
  const split = splits > 1;
  const quads = Math.ceil(n / 4);
  // A split product leaves its epilogue to the addition.
  const epilogue = split ? undefined : epilogueOf(spec);
  const partial = partialSums(spec, splits, quads);
  const ragged = spec.k % tile.depth !== 0;
  const type = tile.half ? "f16" : "f32";
  const loaders = [
    loadA(tile, ragged, geglu),
    window ? loadWindow(tile, ragged) : loadB(tile, ragged, softmax !== undefined),
  ];
  const each = (part: keyof Loader) => loaders.map((loader) => loader[part]).join("\n");
  const body = `
${OFFSETS_TEXT}
${tileText(tile)}
${productText(tile)}
${window ? WINDOW_TEXT : ""}
@compute @workgroup_size(${32 * tile.rows * tile.columns})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  let part = i32(group.z) % size.splits;
  let z = offsets(i32(group.z) / size.splits);
  let m0 = i32(group.x) * ${32 * tile.rows};
  let n0 = i32(group.y) * ${64 * tile.columns};
  let warp = t / 32;
  let row_warp = warp / ${tile.columns};
  let column_warp = warp % ${tile.columns};
  let y = t % 32 / 8;
  let x = t % 8;
  ${placeText(tile, geglu)}
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
  ${epilogueText(spec, tile, epilogue)}
}`;
  const main = launch({
    name: `${window ? `convolution${window.size}` : "product"} ${spec.m}x${n}x${spec.k}`,
    operands: [
      indexing("a", a, { type }),
      indexing("b", b, { scalar: window !== undefined, type: softmax ? "f32" : type }),
      split ? bufferOperand("partial", partial, "vec4<f32>", "read_write") : writing({ out }),
      ...(softmax ? [reading({ rows: softmax.rows })] : []),
      ...(epilogue ? [epilogue.operands] : []),
    ],
    sizes: {
      a_pitch: layoutOf(a).stride / 4,
      b_pitch: layoutOf(b).stride / (window ? 1 : 4),
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
    half: tile.half,
    body,
    workgroups: [Math.ceil(m / (32 * tile.rows)), Math.ceil(n / (64 * tile.columns)), batches * splits],
  });
  return split ? [main, addParts(spec, partial, splits, quads)] : [main];
}

/** Memory of a split product's parts, `[splits, m, quads]` of four sums each. */
export function partialSums({ m }: ProductSpec, splits: number, quads: number): Memory {
  return {
    layout: { kind: "buffer", element: "f32", stride: quads * 4, bytes: splits * m * quads * 16 },
    label: "partial sums",
    kept: false,
  };
}

/** Adds up the parts of a split product and does what its epilogue would have done. */
export function addParts(spec: ProductSpec, partial: Memory, splits: number, quads: number): Launch {
  const { out, m } = spec;
  const epilogue = epilogueOf(spec);
  const sum = spec.bias ? `sum + ${epilogue.bias("row", "quad")}` : "sum";
  return launch({
    name: `add parts ${m}x${quads * 4}`,
    operands: [bufferOperand("partial", partial, "vec4<f32>"), writing({ out }), epilogue.operands],
    sizes: { m, n_quads: quads, splits },
    body: `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = i32(id.x);
  let row = i32(id.y);
  if (quad >= size.n_quads) { return; }
  var sum = vec4<f32>();
  for (var part = 0; part < size.splits; part++) { sum += partial[(part * size.m + row) * size.n_quads + quad]; }
  out_store(out_at(row, quad), ${epilogue.apply(sum, { row: "row", quad: "quad" })});
}`,
    workgroups: [Math.ceil(quads / 64), m, 1],
  });
}
