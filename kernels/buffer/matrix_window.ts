/**
 * How matrix products read the image of a convolution: eight output columns at a time, as they lie in their tiles.
 * @module
 */
import type { ProductSpec } from "../backend.ts";
import { bufferOperand, type Operands } from "../launch.ts";
import { pixels, type Tensor } from "../tensor.ts";
import { layoutOf } from "./layout.ts";
import { WINDOW_TEXT } from "./product_tiles.ts";

/** Halves that are loaded at once. */
export const EIGHT = 8;

/** How the pixels under the taps of a convolution are read, eight output columns at a time. */
export interface WindowReader {
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

/** How `spec` reads its window. */
export function windowReader(spec: ProductSpec): WindowReader {
  const { b, out, window } = spec;
  const { size, stride, pad, upsample, imageWidth, outputWidth } = window!;
  const keeps = size === 3 && stride === 1 && pad === 1 && imageWidth === outputWidth && outputWidth % EIGHT === 0 &&
    out.height === window!.imageHeight && window!.inputWidth * upsample === imageWidth;
  const aligned = [pixels(b), layoutOf(b).stride].every((columns) => columns % (EIGHT / upsample) === 0);
  return keeps && aligned ? readPieces(b, upsample === 2) : readPixels(b);
}
