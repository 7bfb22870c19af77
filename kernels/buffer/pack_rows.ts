/**
 * Packing on the GPU: weights as a file has them into the layout that products read. Values are moved as bits, by
 * integers alone: they become the same as on the host whatever floating point a GPU has, and no feature is needed. Only
 * where a product is added to them they become numbers.
 * @module
 */
import type { RowsSpec, StoredType } from "../backend.ts";
import { bufferOperand, type Launch, launch } from "../launch.ts";

/** Neighbouring weights of an output, and neighbouring words, that a workgroup moves: 32 bytes or more of both. */
const [PLACES, WORDS] = [16, 8];

/** IEEE single to the half that it rounds to, nearest even, infinite above 65504; as bits. */
const NARROW = `fn narrow(single: u32) -> u32 {
  let sign = (single >> 16u) & 0x8000u;
  let magnitude = single & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return sign | 0x7e00u | ((magnitude >> 13u) & 0x3ffu); }
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; }
  if (magnitude < 0x33000000u) { return sign; }
  if (magnitude < 0x38800000u) {
    // A multiple of 2^-24.
    let shift = 126u - (magnitude >> 23u);
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    return sign | ((mantissa + (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u)) >> shift);
  }
  return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u);
}`;

/** IEEE half to single, exactly; as bits. */
const WIDEN = `fn widen(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let magnitude = half & 0x7fffu;
  if (magnitude > 0x7c00u) { return sign | 0x7fc00000u | (magnitude << 13u); }
  if (magnitude == 0x7c00u) { return sign | 0x7f800000u; }
  if (magnitude >= 0x400u) { return sign | ((magnitude << 13u) + 0x38000000u); }
  return sign | bitcast<u32>(f32(magnitude) * bitcast<f32>(0x33800000u));
}`;

/** WGSL of the bits that a weight is kept as, from the bits that it is stored as. */
const CONVERTED: Readonly<Record<StoredType, Readonly<Record<"half" | "single", string>>>> = {
  F16: { half: "stored", single: "widen(stored)" },
  BF16: { half: "narrow(stored << 16u)", single: "stored << 16u" },
  F32: { half: "narrow(stored)", single: "stored" },
};

/** Moves the weights of some outputs from a file's bytes to where they belong. */
export function packRows({ raw, start, type, weights, inputs, taps, first, count, plus }: RowsSpec): Launch {
  const { layout } = weights;
  if (layout.kind !== "buffer") throw new TypeError(`${weights.label} is not a buffer`);
  const half = layout.element !== "f32";
  const row = inputs * taps;
  const words = half ? ((first + count + 1) >> 1) - (first >> 1) : count;
  const stored = type === "F32"
    ? "raw[size.start + index]"
    : "(raw[size.start + (index >> 1u)] >> (16u * u32(index & 1))) & 0xffffu";
  const store = half
    // Two outputs share a word, and another part may bring the other one.
    ? `let output = ((size.first >> 1u) + i32(id.y)) << 1u;
  let word = (column + output) >> 1u;
  var bits = packed[word];
  if (output >= size.first && output < size.end) { bits = (bits & 0xffff0000u) | weight(output, place); }
  if (output + 1 >= size.first && output + 1 < size.end) { bits = (bits & 0xffffu) | (weight(output + 1, place) << 16u); }
  if (output < size.end) { packed[word] = bits; }`
    : `let output = size.first + i32(id.y);
  if (output < size.end) { packed[column + output] = weight(output, place); }`;
  const kept = half ? "half" : "single";
  const value = plus
    ? `var sum = bitcast<f32>(${CONVERTED[type].single});
  let factors = (output - size.first + size.skipped) * size.rank;
  for (var r = 0; r < size.rank; r++) { sum += up[factors + r] * down[r * size.row + place]; }
  let single = bitcast<u32>(sum);
  return ${half ? "narrow(single)" : "single"};`
    : `return ${CONVERTED[type][kept]};`;
  return launch({
    name: plus ? "pack weights and a product" : "pack weights",
    operands: [
      bufferOperand("raw", raw, "u32"),
      bufferOperand("packed", weights, "u32", "read_write"),
      ...(plus ? [bufferOperand("up", plus.up, "f32"), bufferOperand("down", plus.down, "f32")] : []),
    ],
    sizes: {
      ...{ start, row, taps, inputs, stride: layout.stride, first, end: first + count },
      ...(plus && { rank: plus.rank, skipped: plus.skipped }),
    },
    body: `${NARROW}
${WIDEN}
fn weight(output: i32, place: i32) -> u32 {
  let index = (output - size.first) * size.row + place;
  let stored = ${stored};
  ${value}
}
@compute @workgroup_size(${PLACES}, ${WORDS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let place = i32(id.x);
  if (place >= size.row) { return; }
  let column = (place % size.taps * size.inputs + place / size.taps) * size.stride;
  ${store}
}`,
    workgroups: [Math.ceil(row / PLACES), Math.ceil(words / WORDS), 1],
  });
}
