/**
 * How a product of the texture backend becomes a convolution: which texel of the input a column and a tap stand for.
 * @module
 */
import type { Window } from "../backend.ts";

/** The sizes that {@link WINDOW_TEXT} reads. */
export function windowSizes(window: Window): Record<string, number> {
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
export const WINDOW_TEXT = `
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
