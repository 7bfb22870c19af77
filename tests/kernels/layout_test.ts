import { assertEquals } from "@std/assert";
import * as buffer from "../../kernels/buffer/layout.ts";
import type { Packed, RawWeights } from "../../kernels/backend.ts";
import * as texture from "../../kernels/texture/layout.ts";

/** Where a backend puts the weight from input `channel` to output `row` at one of `taps`. */
type Place = (weights: RawWeights, at: { row: number; channel: number; tap: number }) => number;

const BACKENDS: readonly (readonly [string, (weights: RawWeights) => Packed, Place])[] = [
  ["buffer", (weights) => buffer.pack(weights, "f16"), ({ out, ...weights }, { row, channel, tap }) => {
    return (tap * weights.in + channel) * Math.ceil(out / 4) * 4 + row;
  }],
  ["texture", texture.pack, ({ out, ...weights }, { row, channel, tap }) => {
    const slice = tap * Math.ceil(weights.in / 4) + (channel >> 2);
    return (slice * Math.ceil(out / 4) * 4 + row) * 4 + channel % 4;
  }],
];

for (const [name, pack, place] of BACKENDS) {
  Deno.test(`the ${name} backend packs every weight into its place, and zeros around, whatever memory held before`, () => {
    for (const type of [Float32Array, Uint16Array]) {
      for (const [out, inputs, taps] of [[1, 1, 1], [33, 5, 9], [64, 4, 1], [3, 70, 9]] as const) {
        const data = new type(out * inputs * taps);
        for (const i of data.keys()) data[i] = i + 1;
        const weights: RawWeights = { out, in: inputs, taps, data };
        const own = pack(weights).data;
        const want = own.map(() => 0);
        data.forEach((value, i) => {
          const [row, channel, tap] = [Math.floor(i / taps / inputs), Math.floor(i / taps) % inputs, i % taps];
          want[place(weights, { row, channel, tap })] = value;
        });
        assertEquals(own, want);
        const room = (bytes: number) => new Uint8Array(bytes + 100).fill(0xff).buffer;
        assertEquals(pack({ ...weights, room }).data, want);
      }
    }
  });
}
