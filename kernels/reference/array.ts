/**
 * Plain arrays for the reference operations: float64, row-major, nothing clever.
 * @module
 */

/** `values [batch, channels, height, width]`. */
export interface NumberArray {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly values: Float64Array;
}

/** A zero-filled array. */
export function zeros(batch: number, channels: number, height: number, width: number): NumberArray {
  return { batch, channels, height, width, values: new Float64Array(batch * channels * height * width) };
}

/** An array of the same shape made by `value(index)`. */
export function map(x: NumberArray, value: (index: number) => number): NumberArray {
  return { ...x, values: x.values.map((_, index) => value(index)) };
}

/** Flat index of one value. */
export function at(x: NumberArray, sample: number, channel: number, row: number, column: number): number {
  return ((sample * x.channels + channel) * x.height + row) * x.width + column;
}
