/**
 * The transforms of a Winograd convolution in the buffer backend: a thread owns one channel of one tile, so that
 * neighbouring threads store neighbouring tiles.
 * @module
 */
import type { WinogradInputSpec, WinogradOutputSpec } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch } from "../launch.ts";
import { pixels, type Tensor } from "../tensor.ts";
import { eachPoint, PATCH, TILE, transformText } from "../winograd.ts";
import { epilogueOf } from "./epilogue.ts";
import { reading, readingScalars, singles, writing } from "./layout.ts";

const THREADS = 128;

/** See {@link Winograd.weights}: a thread owns one filter. */
export function winogradWeights(weights: Tensor, points: Tensor, firstOutput: number): Launch {
  const channels = weights.channels / 9;
  const rows = points.channels / (PATCH * PATCH);
  const outputs = points.height;
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
  ${transformText("weights", "g", "u")}
  ${
    eachPoint(PATCH, (i, j) =>
      `points[(${i * PATCH + j} * size.rows + channel) * size.points_stride * 4 + output] = u${i}_${j};`)
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

/** One pixel at a time: for inputs that are upsampled or not whole quads wide. */
const PIXEL_TEXT = `
/** One pixel of the upsampled image; zero outside it. */
fn pixel(channel: i32, first: i32, row: i32, column: i32) -> f32 {
  if (row < 0 || column < 0 || row >= size.image_height || column >= size.image_width) { return 0.0; }
  let at = (row >> u32(size.upsample_shift)) * size.input_row + (column >> u32(size.upsample_shift));
  return x_value(channel, first + at);
}`;

/** The patch `d` of a tile as single pixels. */
function pixelPatch(): string {
  return eachPoint(PATCH, (i, j) => `let d${i}_${j} = pixel(channel, first, row + ${i}, column + ${j});`);
}

/** The patch `d` of a tile whose middle four columns are one quad: 18 loads instead of 36. */
function quadPatch(): string {
  return unroll(PATCH, (i) =>
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

/** See {@link Winograd.input}. */
export function winogradInput(spec: WinogradInputSpec): Launch {
  const { x, points, window, firstRow } = spec;
  const quads = window.upsample === 1 && window.inputWidth % 4 === 0 && window.pad === 1;
  const body = `
${quads ? "" : PIXEL_TEXT}
@compute @workgroup_size(${THREADS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let tile = i32(id.x);
  let channel = i32(id.y);
  let sample = i32(id.z);
  if (tile >= size.tiles) { return; }
  let row = (size.first_row + tile / size.tile_columns) * ${TILE} - size.pad;
  let column = tile % size.tile_columns * ${TILE}${quads ? "" : " - size.pad"};
  let first = sample * size.x_sample * 4;
  ${quads ? quadPatch() : pixelPatch()}
  ${transformText("input", "d", "v")}
  let at = (size.points_row + channel) * size.points_stride * 4 + sample * size.points_sample * 4 + tile;
  let step = size.rows * size.points_stride * 4;
  ${eachPoint(PATCH, (i, j) => `points[at + ${i * PATCH + j} * step] = v${i}_${j};`)}
}`;
  return launch({
    name: `winograd input ${x.channels}x${x.batch * pixels(x)}`,
    operands: [quads ? reading({ x }) : readingScalars({ x }), singles("points", points, { written: true })],
    sizes: {
      image_height: window.imageHeight,
      image_width: window.imageWidth,
      upsample_shift: Math.log2(window.upsample),
      input_row: window.inputWidth,
      pad: window.pad,
      tiles: pixels(points),
      tile_columns: points.width,
      first_row: firstRow,
      rows: points.channels / (PATCH * PATCH),
    },
    body,
    workgroups: [Math.ceil(pixels(points) / THREADS), x.channels, x.batch],
  });
}

/**
 * See {@link Winograd.output}.
 *
 * @throws {RangeError} when the output's width is not a multiple of four: rows are stored four pixels at a time.
 */
export function winogradOutput(spec: WinogradOutputSpec): Launch {
  const { points, out, firstRow, bias } = spec;
  if (out.width % TILE !== 0) throw new RangeError(`A Winograd output ${out.width} wide is not made of whole tiles`);
  const epilogue = epilogueOf(spec);
  const body = `
@compute @workgroup_size(${THREADS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let tile = i32(id.x);
  let channel = i32(id.y);
  let sample = i32(id.z);
  if (tile >= size.tiles) { return; }
  let at = (size.points_row + channel) * size.points_stride * 4 + sample * size.points_sample * 4 + tile;
  let next = size.rows * size.points_stride * 4;
  ${eachPoint(PATCH, (i, j) => `let m${i}_${j} = points[at + ${i * PATCH + j} * next];`)}
  ${transformText("output", "m", "y")}
  let row = (size.first_row + tile / size.tile_columns) * ${TILE};
  let first = sample * size.out_sample + row * size.tile_columns + tile % size.tile_columns;
  ${bias ? `let channel_bias = ${epilogue.bias("channel", "first")};` : ""}
  ${
    unroll(TILE, (i) => {
      const sum = `vec4<f32>(${[0, 1, 2, 3].map((j) => `y${i}_${j}`).join(", ")})${bias ? " + channel_bias" : ""}`;
      const quad = `first + ${i} * size.tile_columns`;
      return `if (row + ${i} < size.height) {
  out_store(out_at(channel, ${quad}), ${epilogue.apply(sum, { row: "channel", quad })});
}`;
    })
  }
}`;
  return launch({
    name: `winograd output ${out.channels}x${out.batch * pixels(out)}`,
    operands: [singles("points", points), writing({ out }), epilogue.operands],
    sizes: {
      height: out.height,
      tiles: pixels(points),
      tile_columns: points.width,
      first_row: firstRow,
      rows: points.channels / (PATCH * PATCH),
    },
    body,
    workgroups: [Math.ceil(pixels(points) / THREADS), out.channels, out.batch],
  });
}
