/**
 * Winograd's convolutions in the buffer backend. A thread owns one channel of four columns of outputs, which are a tile
 * of F(4x4), or two of F(2x2): neighbouring threads store neighbouring tiles, and outputs are whole quads.
 * @module
 */
import type { Winograd, WinogradInputSpec, WinogradOutputSpec } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { bufferOperand, type Launch, launch, type Operands } from "../launch.ts";
import { pixels, type Tensor } from "../tensor.ts";
import { eachPoint, F2, F4, type Filtering, transformText } from "../winograd.ts";
import { epilogueOf } from "./epilogue.ts";
import { layoutOf, reading, readingScalars, singles, writing } from "./layout.ts";

const THREADS = 128;

/** How many tiles lie side by side in a quad of outputs. */
function tilesOf({ tile }: Filtering): number {
  return 4 / tile;
}

/** See {@link Winograd.weights}: a thread owns one filter. */
function winogradWeights(filtering: Filtering, weights: Tensor, points: Tensor, firstOutput: number): Launch {
  const { patch } = filtering;
  const channels = weights.channels / 9;
  const rows = points.channels / filtering.points;
  const outputs = points.height;
  const { element } = layoutOf(points);
  const body = `
@compute @workgroup_size(${THREADS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let output = i32(id.x);
  let channel = i32(id.y);
  if (output >= size.outputs) { return; }
  ${
    unroll(3, (i) =>
      unroll(3, (j) =>
        `let g${i}_${j} = weights_value(${3 * i + j} * size.channels + channel, size.first_output + output);`))
  }
  ${transformText(filtering, "weights", "g", "u")}
  ${
    eachPoint(patch, (i, j) =>
      `points[(${i * patch + j} * size.rows + channel) * size.points_stride * 4 + output] = ${element}(u${i}_${j});`)
  }
}`;
  return launch({
    name: `winograd weights ${outputs}x${channels}`,
    operands: [readingScalars({ weights }), singles("points", points, { written: true })],
    sizes: { outputs, channels, rows, first_output: firstOutput },
    body,
    workgroups: [Math.ceil(outputs / THREADS), channels, 1],
  });
}

/** Points, bound so that a thread's tiles are one element: a float32, or a pair of float16. */
function tilePoints(points: Tensor, filtering: Filtering, access: "read" | "read_write"): Operands {
  const wide = tilesOf(filtering);
  return {
    ...bufferOperand("points", points.memory, wide === 2 ? "u32" : "f32", access),
    sizes: {
      points_row: points.firstRow,
      points_stride: layoutOf(points).stride / wide,
      points_sample: layoutOf(points).stride / points.batch / wide,
      tiles: pixels(points) / wide,
      tile_columns: points.width / wide,
      rows: points.channels / filtering.points,
    },
  };
}

/** One pixel at a time: for inputs that are upsampled or not whole quads wide. */
const PIXEL_TEXT = `
/** One pixel of the upsampled image; zero outside it. */
fn pixel(channel: i32, first: i32, row: i32, column: i32) -> f32 {
  if (row < 0 || column < 0 || row >= size.image_height || column >= size.image_width) { return 0.0; }
  let at = (row >> u32(size.upsample_shift)) * size.input_row + (column >> u32(size.upsample_shift));
  return x_value(channel, first + at);
}`;

/** The rows `d` of a patch, six columns each, as single pixels. */
function pixelPatch({ patch }: Filtering): string {
  return unroll(patch, (i) => unroll(6, (j) => `let d${i}_${j} = pixel(channel, first, row + ${i}, column + ${j});`));
}

/** The rows `d` of a patch, six columns each, whose middle four are one quad: three loads a row instead of six. */
function quadPatch({ patch }: Filtering): string {
  return unroll(patch, (i) =>
    `var left${i} = 0.0; var middle${i} = vec4<f32>(); var right${i} = 0.0;
if (row + ${i} >= 0 && row + ${i} < size.image_height) {
  let quad = (first + (row + ${i}) * size.input_row + column) / 4;
  middle${i} = x_load(channel, quad);
  if (column > 0) { left${i} = x_load(channel, quad - 1).w; }
  if (column + 4 < size.image_width) { right${i} = x_load(channel, quad + 1).x; }
}
let d${i}_0 = left${i}; let d${i}_5 = right${i};
${unroll(4, (j) => `let d${i}_${j + 1} = middle${i}[${j}];`)}`);
}

/** The transforms of a thread's tiles, `v0_` and `v1_`, from its rows `d`. */
function inputText(filtering: Filtering): string {
  return unroll(
    tilesOf(filtering),
    (t) => transformText(filtering, "input", "d", `v${t}_`, t * filtering.tile),
  );
}

/** See {@link Winograd.input}. */
function winogradInput(filtering: Filtering, spec: WinogradInputSpec): Launch {
  const { x, points, window, firstRow } = spec;
  const { tile, patch } = filtering;
  const quads = window.upsample === 1 && window.inputWidth % 4 === 0 && window.pad === 1;
  const pairs = tilesOf(filtering) === 2;
  const stored = (i: number, j: number) =>
    pairs ? `pack2x16float(vec2<f32>(v0_${i}_${j}, v1_${i}_${j}))` : `v0_${i}_${j}`;
  const body = `
${quads ? "" : PIXEL_TEXT}
@compute @workgroup_size(${THREADS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let tile = i32(id.x);
  let channel = i32(id.y);
  let sample = i32(id.z);
  if (tile >= size.tiles) { return; }
  let row = (size.first_row + tile / size.tile_columns) * ${tile} - size.pad;
  let column = tile % size.tile_columns * 4${quads ? "" : " - size.pad"};
  let first = sample * size.x_sample * 4;
  ${quads ? quadPatch(filtering) : pixelPatch(filtering)}
  ${inputText(filtering)}
  let at = (size.points_row + channel) * size.points_stride + sample * size.points_sample + tile;
  let step = size.rows * size.points_stride;
  ${eachPoint(patch, (i, j) => `points[at + ${i * patch + j} * step] = ${stored(i, j)};`)}
}`;
  const operands = [quads ? reading({ x }) : readingScalars({ x }), tilePoints(points, filtering, "read_write")];
  return launch({
    name: `winograd input ${x.channels}x${x.batch * pixels(x)}`,
    operands,
    sizes: {
      image_height: window.imageHeight,
      image_width: window.imageWidth,
      upsample_shift: Math.log2(window.upsample),
      input_row: window.inputWidth,
      pad: window.pad,
      first_row: firstRow,
    },
    body,
    workgroups: [Math.ceil(pixels(points) / tilesOf(filtering) / THREADS), x.channels, x.batch],
  });
}

/** The results `y0_` and `y1_` of a thread's tiles, from the products of their points. */
function outputText(filtering: Filtering): string {
  const { patch } = filtering;
  const at = (i: number, j: number) => `points[at + ${i * patch + j} * next]`;
  const products = tilesOf(filtering) === 2
    ? eachPoint(
      patch,
      (i, j) =>
        `let p${i}_${j} = unpack2x16float(${
          at(i, j)
        }); let m0_${i}_${j} = p${i}_${j}.x; let m1_${i}_${j} = p${i}_${j}.y;`,
    )
    : eachPoint(patch, (i, j) => `let m0_${i}_${j} = ${at(i, j)};`);
  return `${products}
${unroll(tilesOf(filtering), (t) => transformText(filtering, "output", `m${t}_`, `y${t}_`))}`;
}

/**
 * See {@link Winograd.output}.
 *
 * @throws {RangeError} when the output's width is not a multiple of four: rows are stored four pixels at a time.
 */
function winogradOutput(filtering: Filtering, spec: WinogradOutputSpec): Launch {
  const { points, out, firstRow, bias } = spec;
  const { tile } = filtering;
  if (out.width % 4 !== 0) throw new RangeError(`A Winograd output ${out.width} wide is not made of whole tiles`);
  const epilogue = epilogueOf(spec);
  const body = `
@compute @workgroup_size(${THREADS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let tile = i32(id.x);
  let channel = i32(id.y);
  let sample = i32(id.z);
  if (tile >= size.tiles) { return; }
  let at = (size.points_row + channel) * size.points_stride + sample * size.points_sample + tile;
  let next = size.rows * size.points_stride;
  ${outputText(filtering)}
  let row = (size.first_row + tile / size.tile_columns) * ${tile};
  let first = sample * size.out_sample + row * size.tile_columns + tile % size.tile_columns;
  ${bias ? `let channel_bias = ${epilogue.bias("channel", "first")};` : ""}
  ${
    unroll(tile, (i) => {
      const values = [0, 1, 2, 3].map((j) => `y${Math.floor(j / tile)}_${i}_${j % tile}`);
      const sum = `vec4<f32>(${values.join(", ")})${bias ? " + channel_bias" : ""}`;
      const quad = `first + ${i} * size.tile_columns`;
      return `if (row + ${i} < size.height) {
  out_store(out_at(channel, ${quad}), ${epilogue.apply(sum, { row: "channel", quad })});
}`;
    })
  }
}`;
  return launch({
    name: `winograd output ${out.channels}x${out.batch * pixels(out)}`,
    operands: [tilePoints(points, filtering, "read"), writing({ out }), epilogue.operands],
    sizes: { height: out.height, first_row: firstRow },
    body,
    workgroups: [Math.ceil(pixels(points) / tilesOf(filtering) / THREADS), out.channels, out.batch],
  });
}

function winograd(filtering: Filtering, own: Pick<Winograd, "name" | "exact" | "fits" | "pays">): Winograd {
  return {
    filtering,
    ...own,
    weights: (weights, points, firstOutput) => winogradWeights(filtering, weights, points, firstOutput),
    input: (spec) => winogradInput(filtering, spec),
    output: (spec) => winogradOutput(filtering, spec),
  };
}

/**
 * F(4x4) in float32 and, where activations are float16, F(2x2) in that. Rows of pixels are stored four at a time.
 *
 * Measured on an H200, all 3x3 convolutions of a step and a decode of Stable Diffusion 1.4: on matrices 22.1 ms directly
 * and 14.9 by F(2x2); without them 73 directly, 35 by F(4x4), which is the better one from 64 of its tiles on.
 */
export function winograds({ half, matrices }: { half: boolean; matrices: boolean }): readonly Winograd[] {
  const wide = winograd(F4, {
    name: "Winograd",
    exact: true,
    fits: ({ outputWidth }) => outputWidth % 4 === 0,
    // On matrices nothing of float32 is faster than something of float16.
    pays: ({ channels, tiles }) => !matrices && channels >= 128 && tiles >= 64,
  });
  const narrow = winograd(F2, {
    name: "Winograd F(2x2)",
    exact: false,
    fits: ({ outputWidth, half }) => half && outputWidth % 4 === 0,
    pays: ({ channels, tiles }) => channels >= 128 && tiles >= 128,
  });
  return half ? [wide, narrow] : [wide];
}
