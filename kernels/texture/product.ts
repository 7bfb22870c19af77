/**
 * `out = a^T b` of the texture backend: linear layers, convolutions and the products of attention.
 *
 * One subgroup of 8 lanes owns a tile of `rows` x 8 `groups` outputs. Lanes run along the columns: each reads its own
 * pixels of `b`, four rows a texel. `a` is read once by the 8 lanes, a row each, and handed round by broadcasts.
 * Sums of four products are added to the accumulator: longer or shorter chains make LLVM spill (17-58 GFLOP/s
 * instead of 75 on two cores with LLVM 15).
 * @module
 */
import { type ProductBatch, type ProductSpec, SINGLE, type Window } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch } from "../launch.ts";
import { pixels } from "../tensor.ts";
import { epilogueOf, type EpilogueText } from "./epilogue.ts";
import { layoutOf, reading, writing } from "./layout.ts";

/** Outputs of one workgroup: `rows` by `8 * groups` columns. */
interface ProductTile {
  readonly rows: number;
  readonly groups: number;
}

/**
 * The tile for a shape: as large as fits, because every load then serves more products. Only a few sizes, because
 * each is another shader to compile (0.1-0.4 s, and 20-50 ms even from the driver's cache): small tiles are kept for
 * what takes long without them.
 */
function chooseTile({ m, n, activation = "none", window }: ProductSpec): ProductTile {
  const few = n <= 32 && (activation === "none" || activation === "geglu");
  return { rows: m <= 4 && window ? 4 : 16, groups: few ? 4 : 8 };
}

function batchSizes(batch: ProductBatch): Record<string, number> {
  const sizes: Record<string, number> = { inner: batch.inner };
  for (const operand of ["a", "b", "out"] as const) {
    const [outer, inner] = batch[operand];
    if (outer.rows % 4 !== 0 || inner.rows % 4 !== 0) {
      throw new RangeError(`Product strides of ${outer.rows} and ${inner.rows} rows are not whole texels`);
    }
    sizes[`${operand}_outer_slices`] = outer.rows / 4;
    sizes[`${operand}_inner_slices`] = inner.rows / 4;
    sizes[`${operand}_outer_columns`] = outer.columns;
    sizes[`${operand}_inner_columns`] = inner.columns;
  }
  return sizes;
}

/** The sizes that {@link WINDOW_TEXT} reads. */
function windowSizes(window: Window): Record<string, number> {
  const { size, stride, pad, upsample, inputHeight, inputWidth, outputHeight, outputWidth } = window;
  return {
    window: size,
    stride,
    pad,
    upsample_shift: Math.log2(upsample),
    image_height: window.imageHeight,
    image_width: window.imageWidth,
    input_row: inputWidth,
    input_pixels: inputHeight * inputWidth,
    output_width: outputWidth,
    output_pixels: outputHeight * outputWidth,
  };
}

/** WGSL `output_pixel(column)` and `input_texel(pixel, tap row, tap column)` of operand `b`. */
const WINDOW_TEXT = `
/** Sample, row and column of output pixel n. The division is exact below 2^22 and far cheaper than the integer one. */
fn output_pixel(n: i32) -> vec3<i32> {
  let sample = i32((f32(n) + 0.5) / f32(size.output_pixels));
  let pixel = n - sample * size.output_pixels;
  let row = i32((f32(pixel) + 0.5) / f32(size.output_width));
  return vec3<i32>(sample, row, pixel - row * size.output_width);
}
/** The texel under one tap; outside the image a texel outside the texture, which reads as zero (probed). */
fn input_texel(o: vec3<i32>, tap_row: i32, tap_column: i32) -> vec2<i32> {
  let row = o.y * size.stride + tap_row - size.pad;
  let column = o.z * size.stride + tap_column - size.pad;
  let inside = row >= 0 && column >= 0 && row < size.image_height && column < size.image_width;
  let pixel = (row >> u32(size.upsample_shift)) * size.input_row + (column >> u32(size.upsample_shift));
  let at = b_at(0, o.x * size.input_pixels + pixel);
  return vec2<i32>(select(-1, at.x, inside), at.y);
}`;

/** Where lane `l`'s pixel of group `j` lies in `b`: columns for a plain product, a gathered pixel for a window. */
function columnText(groups: number, window: boolean): { readonly before: string; readonly perTap: string } {
  if (!window) {
    return {
      before: unroll(groups, (j) => `let p${j} = b_at(z.b_slice, min(n${j}, size.n - 1) + z.b_column);`),
      perTap: "",
    };
  }
  return {
    before: unroll(groups, (j) => `let o${j} = output_pixel(n${j});`),
    perTap: unroll(groups, (j) => `let p${j} = input_texel(o${j}, tap / size.window, tap % size.window);`),
  };
}

/** The step over four summed rows: `groups` texels of b, `rows / 8` of a, and their products. */
function innerText(tile: ProductTile, softmax: boolean): string {
  const weights = Math.ceil(tile.rows / 8);
  const lines = [
    unroll(tile.groups, (j) => `let x${j} = ${bTexel(j, softmax)};`),
    unroll(weights, (g) => `let w${g} = textureLoad(a, vec2<i32>(a${g}.x, a${g}.y + (first_k + k) * size.a_fold));`),
  ];
  for (let r = 0; r < tile.rows / 4; r++) {
    for (const component of "xyzw") {
      const lane = (i: number) => `subgroupBroadcast(w${r >> 1}.${component}, ${(r % 2) * 4 + i}u)`;
      lines.push(`let w${r}${component} = vec4<f32>(${[0, 1, 2, 3].map(lane).join(", ")});`);
    }
    lines.push(unroll(
      tile.groups,
      (j) => `c${r}_${j} = c${r}_${j} + (x${j}.x * w${r}x + x${j}.y * w${r}y + x${j}.z * w${r}z + x${j}.w * w${r}w);`,
    ));
  }
  return lines.join("\n");
}

function bTexel(j: number, softmax: boolean): string {
  const texel = `textureLoad(b, vec2<i32>(p${j}.x, p${j}.y + k * size.b_fold))`;
  // Past the last key lie copies, not scores.
  return softmax
    ? `select(vec4<f32>(), exp(${texel} * size.scale - maximum${j}), vec4<i32>(k * 4) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(size.k))`
    : texel;
}

/** What happens to the accumulators: softmax sums, bias, activation, residual, store; a batch has no epilogue. */
function epilogueText(spec: ProductSpec, tile: ProductTile, epilogue: EpilogueText | undefined): string {
  const geglu = spec.activation === "geglu";
  const stored = tile.rows / (geglu ? 8 : 4);
  const own = epilogue?.sampleBias;
  const lines: string[] = [];
  if (own) {
    lines.push(
      unroll(tile.groups, (j) => `let bias_column${j} = ${epilogue.biasColumn(`n${j} / size.sample_columns`)};`),
    );
  } else if (epilogue) lines.push(`let bias_column = ${epilogue.biasColumn("")};`);
  for (let r = 0; r < stored; r++) {
    lines.push(`{ let slice = m0 / 4 + ${r};`);
    const bias = (slice: string, j: number | "") => `bias_load(${slice}, bias_column${j})`;
    if (epilogue && !own) lines.push(`let row_bias = ${bias("slice", "")};`);
    if (geglu && !own) lines.push(`let gate_bias = ${bias("slice + size.m / 4", "")};`);
    for (let j = 0; j < tile.groups; j++) {
      const sum = spec.softmax ? `c${r}_${j} / sum${j}` : `c${r}_${j}`;
      const gate = `c${r + stored}_${j} + ${own ? bias("slice + size.m / 4", j) : "gate_bias"}`;
      const biased = `${sum} + ${own ? bias("slice", j) : "row_bias"}`;
      const value = epilogue ? epilogue.apply(biased, { slice: "slice", column: `n${j}`, gate }) : sum;
      // The select keeps LLVM from compiling a chain that ends in a store lane by lane (45 times slower).
      lines.push(
        `if (n${j} < size.n && slice * 4 < size.m) {
  out_store(out_at(z.out_slice + slice, n${j} + z.out_column), select(vec4<f32>(), ${value}, n${j} < size.n));
}`,
      );
    }
    lines.push("}");
  }
  return lines.join("\n");
}

/**
 * The epilogue of a layer, which binds a bias and a residual whether it has them or not: one that has none takes 9 %
 * longer with 96 inputs, 3 % with 320.
 *
 * @throws {RangeError} when a batch asks for what only layers have.
 */
function layerEpilogue(spec: ProductSpec): EpilogueText | undefined {
  const { batch, bias, plus, activation = "none" } = spec;
  if (!batch) return epilogueOf(spec, spec.b, { residual: true });
  if (bias || plus || activation !== "none") {
    throw new RangeError("A batch of products has no bias, activation or residual");
  }
}

/** See {@link Backend.product}. */
export function product(spec: ProductSpec): Launch {
  const tile = chooseTile(spec);
  const { a, b, out, window, softmax, activation, batch = SINGLE } = spec;
  const { width, fold } = layoutOf(a);
  const geglu = activation === "geglu";
  const epilogue = layerEpilogue(spec);
  const tileRows = geglu ? tile.rows / 2 : tile.rows;
  const weightGroups = Math.ceil(tile.rows / 8);
  const rowOfGroup = (g: number) => geglu && g >= weightGroups / 2 ? `size.m + ${g * 8 - tileRows}` : `${g * 8}`;
  const { before, perTap } = columnText(tile.groups, window !== undefined);
  const taps = window ? "size.window * size.window" : "1";
  const body = `
struct Offsets { a_slice: i32, a_column: i32, b_slice: i32, b_column: i32, out_slice: i32, out_column: i32 }
fn offsets(z: i32) -> Offsets {
  let o = z / size.inner; let i = z % size.inner;
  return Offsets(
    o * size.a_outer_slices + i * size.a_inner_slices, o * size.a_outer_columns + i * size.a_inner_columns,
    o * size.b_outer_slices + i * size.b_inner_slices, o * size.b_outer_columns + i * size.b_inner_columns,
    o * size.out_outer_slices + i * size.out_inner_slices, o * size.out_outer_columns + i * size.out_inner_columns);
}
${window ? WINDOW_TEXT : ""}
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let l = i32(lane);
  let z = offsets(i32(group.z));
  let m0 = i32(group.x) * ${tileRows};
  let n_first = i32(group.y) * ${tile.groups * 8} + l;
  ${unroll(tile.groups, (j) => `let n${j} = n_first + ${j * 8};`)}
  ${
    unroll(
      weightGroups,
      (g) => `let a${g} = a_at(z.a_slice, min(m0 + ${rowOfGroup(g)} + l + z.a_column, size.a_last));`,
    )
  }
  ${softmax ? softmaxText(tile.groups) : ""}
  ${before}
  ${unroll(tile.rows / 4, (r) => unroll(tile.groups, (j) => `var c${r}_${j} = vec4<f32>();`))}
  for (var tap = 0; tap < ${taps}; tap++) {
    ${perTap}
    let first_k = tap * size.k_slices;
    for (var k = 0; k < size.k_slices; k++) {
      ${innerText(tile, softmax !== undefined)}
    }
  }
  ${epilogueText(spec, tile, epilogue)}
}`;
  return launch({
    name: `${window ? `convolution${window.size}` : "product"} ${spec.m}x${spec.n}x${spec.k}`,
    operands: [
      reading({ a, b, ...(softmax && { rows: softmax.rows }) }),
      writing({ out }),
      ...(epilogue ? [epilogue.operands] : []),
    ],
    sizes: {
      ...batchSizes(batch),
      ...(window && windowSizes(window)),
      m: spec.m,
      n: spec.n,
      k: spec.k,
      k_slices: Math.ceil(spec.k / 4),
      sample_columns: pixels(out),
      a_last: width * fold - 1,
    },
    values: { ...(softmax && { scale: softmax.scale }), ...epilogue?.values },
    body,
    workgroups: [
      Math.ceil(spec.m / tileRows),
      Math.ceil(spec.n / (tile.groups * 8)),
      batch.outer * batch.inner,
    ],
  });
}

function softmaxText(groups: number): string {
  return unroll(
    groups,
    (j) =>
      `let row${j} = rows_load(i32(group.z), min(n${j}, size.n - 1));
let maximum${j} = row${j}.x; let sum${j} = row${j}.y;`,
  );
}
