/**
 * Weights in the order in which a backend reads them.
 * @module
 */
import type { Packed, RawWeights } from "./backend.ts";

/** Where a backend wants weights; places count elements. */
export interface Packing {
  readonly elements: number;
  /** The place of the first output of a tap and an input channel. */
  readonly start: (tap: number, channel: number) => number;
  /** Places from one output to the next. */
  readonly step: number;
}

/** Outputs at a time: then reads and writes both go along cache lines. */
const OUTPUTS = 32;

/** The values of `weights` in their places, in the element type that they came in; pads are zeros. */
export function packValues(weights: RawWeights, { elements, start, step }: Packing): Packed["data"] {
  const { out, taps, data, room = (bytes) => new ArrayBuffer(bytes) } = weights;
  const half = data instanceof Uint16Array;
  const memory = room(elements * (half ? 2 : 4));
  const packed = half ? new Uint16Array(memory, 0, elements) : new Float32Array(memory, 0, elements);
  if (elements > data.length) packed.fill(0);
  for (let first = 0; first < out; first += OUTPUTS) {
    const end = Math.min(first + OUTPUTS, out);
    for (let channel = 0; channel < weights.in; channel++) {
      for (let tap = 0; tap < taps; tap++) {
        let from = (first * weights.in + channel) * taps + tap;
        const to = start(tap, channel);
        for (let row = first; row < end; row++, from += weights.in * taps) packed[to + row * step] = data[from]!;
      }
    }
  }
  return packed;
}
