/**
 * The transforms of a Winograd convolution in the texture backend: a lane owns a tile and four channels.
 * @module
 */
import type { WinogradInputSpec, WinogradOutputSpec } from "../backend.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch } from "../launch.ts";
import { columns, pixels, type Tensor } from "../tensor.ts";
import { eachPoint, F4, transformText } from "../winograd.ts";
import { epilogueOf } from "./epilogue.ts";
import { reading, writing } from "./layout.ts";

const LANES = 64;

const { tile: TILE, patch: PATCH } = F4;

/** Stores the transformed patch; the selects keep LLVM from compiling the chains lane by lane. */
function storePoints(value: string, slice: string, column: string): string {
  return eachPoint(
    PATCH,
    (i, j) =>
      `points_store(points_at(${
        i * PATCH + j
      } * size.slices + ${slice}, ${column}), select(vec4<f32>(), ${value}${i}_${j}, stored));`,
  );
}

/** See {@link Winograd.weights}: a lane owns one output and four inputs. */
export function winogradWeights(weights: Tensor, points: Tensor, firstOutput: number): Launch {
  const slices = points.channels / 4 / (PATCH * PATCH);
  const body = `
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let output = i32(id.x);
  let slice = i32(id.y);
  let stored = output < size.outputs;
  if (!stored) { return; }
  ${
    unroll(3, (i) =>
      unroll(3, (j) =>
        `let g${i}_${j} = weights_load(${3 * i + j} * size.slices + slice, size.first_output + output);`))
  }
  ${transformText(F4, "weights", "g", "u")}
  ${storePoints("u", "slice", "output")}
}`;
  const outputs = points.height;
  return launch({
    name: `winograd weights ${outputs}x${slices * 4}`,
    operands: [reading({ weights }), writing({ points })],
    sizes: { outputs, slices, first_output: firstOutput },
    body,
    workgroups: [Math.ceil(outputs / LANES), slices, 1],
  });
}

/** See {@link Winograd.input}. */
export function winogradInput(spec: WinogradInputSpec): Launch {
  const { x, points, window, firstRow } = spec;
  const body = `
/** Four channels of one pixel of the upsampled image; outside it a texel outside the texture, which reads as zero. */
fn pixel(slice: i32, sample: i32, row: i32, column: i32) -> vec4<f32> {
  let inside = row >= 0 && column >= 0 && row < size.image_height && column < size.image_width;
  let pixel = (row >> u32(size.upsample_shift)) * size.input_row + (column >> u32(size.upsample_shift));
  let at = x_at(slice, sample * size.input_pixels + pixel);
  return textureLoad(x, vec2<i32>(select(-1, at.x, inside), at.y));
}
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let tile = i32(id.x);
  let slice = i32(id.y);
  let stored = tile < size.tiles;
  if (!stored) { return; }
  let sample = tile / (size.tile_rows * size.tile_columns);
  let row = (size.first_row + tile / size.tile_columns % size.tile_rows) * ${TILE} - size.pad;
  let column = tile % size.tile_columns * ${TILE} - size.pad;
  ${eachPoint(PATCH, (i, j) => `let d${i}_${j} = pixel(slice, sample, row + ${i}, column + ${j});`)}
  ${transformText(F4, "input", "d", "v")}
  ${storePoints("v", "slice", "tile")}
}`;
  const slices = Math.ceil(x.channels / 4);
  return launch({
    name: `winograd input ${x.channels}x${columns(x)}`,
    operands: [reading({ x }), writing({ points })],
    sizes: {
      image_height: window.imageHeight,
      image_width: window.imageWidth,
      upsample_shift: Math.log2(window.upsample),
      input_row: window.inputWidth,
      input_pixels: pixels(x),
      pad: window.pad,
      tiles: columns(points),
      tile_rows: points.height,
      tile_columns: points.width,
      first_row: firstRow,
      slices,
    },
    body,
    workgroups: [Math.ceil(columns(points) / LANES), slices, 1],
  });
}

/** See {@link Winograd.output}. */
export function winogradOutput(spec: WinogradOutputSpec): Launch {
  const { points, out, firstRow } = spec;
  const slices = Math.ceil(out.channels / 4);
  // A residual would be a fifth of all reads: it has a shader of its own.
  const epilogue = epilogueOf(spec, points);
  const result = (i: number, j: number) =>
    epilogue.apply(`y${i}_${j} + slice_bias`, { slice: "slice", column: `first + ${i} * size.width + ${j}` });
  const body = `
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let tile = i32(id.x);
  let slice = i32(id.y);
  if (tile >= size.tiles) { return; }
  let sample = tile / (size.tile_rows * size.tile_columns);
  let row = (size.first_row + tile / size.tile_columns % size.tile_rows) * ${TILE};
  let column = tile % size.tile_columns * ${TILE};
  let first = (sample * size.height + row) * size.width + column;
  ${eachPoint(PATCH, (i, j) => `let m${i}_${j} = points_load(${i * PATCH + j} * size.slices + slice, tile);`)}
  ${transformText(F4, "output", "m", "y")}
  let slice_bias = bias_load(slice, ${epilogue.biasColumn("sample")});
  ${
    eachPoint(TILE, (i, j) =>
      `if (row + ${i} < size.height && column + ${j} < size.width) {
  let value = select(vec4<f32>(), ${result(i, j)}, column + ${j} < size.width);
  out_store(out_at(slice, first + ${i} * size.width + ${j}), value);
}`)
  }
}`;
  return launch({
    name: `winograd output ${out.channels}x${columns(out)}`,
    operands: [reading({ points }), writing({ out }), epilogue.operands],
    sizes: {
      height: out.height,
      width: out.width,
      tiles: columns(points),
      tile_rows: points.height,
      tile_columns: points.width,
      first_row: firstRow,
      slices,
    },
    values: epilogue.values,
    body,
    workgroups: [Math.ceil(columns(points) / LANES), slices, 1],
  });
}
