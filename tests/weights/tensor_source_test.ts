import { assertEquals, assertThrows } from "@std/assert";
import { type DType, type TensorInfo, toFloat16Bits, toFloat32 } from "../../weights/tensor_source.ts";

function info(dtype: DType, bytes: number): TensorInfo {
  return { name: "a", dtype, shape: [2], bytes };
}

function bytesOf(values: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.buffer);
}

Deno.test("all half and bfloat16 bit patterns widen exactly", () => {
  const patterns = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
  const halves = toFloat32(info("F16", 131072), bytesOf(patterns));
  const brains = toFloat32(info("BF16", 131072), bytesOf(patterns));
  const view = new DataView(new ArrayBuffer(4));
  for (const bits of patterns) {
    view.setUint16(0, bits);
    assertEquals(halves[bits], view.getFloat16(0));
    assertEquals(brains[bits], view.getFloat32(0));
  }
});

Deno.test("half bits: kept, or rounded to nearest even", () => {
  const singles = Float32Array.of(1, -2, 65504, 65520, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -24, 2 ** -26);
  assertEquals(
    Array.from(toFloat16Bits(info("F32", 32), bytesOf(singles))),
    [0x3c00, 0xc000, 0x7bff, 0x7c00, 0x3c00, 0x3c02, 0x0001, 0x0000],
  );
  assertEquals(Array.from(toFloat16Bits(info("F16", 4), Uint8Array.of(1, 2, 3, 4))), [0x0201, 0x0403]);
  assertEquals(Array.from(toFloat16Bits(info("BF16", 4), Uint8Array.of(0x80, 0x3f, 0, 0xc0))), [0x3c00, 0xc000]);
});

Deno.test("bytes in the middle of a buffer, at an odd place", () => {
  const buffer = Uint8Array.of(9, 0, 0x3c, 0, 0xc0, 9);
  assertEquals(toFloat32(info("F16", 4), buffer.subarray(1, 5)), Float32Array.of(1, -2));
  assertEquals(toFloat16Bits(info("F16", 4), buffer.subarray(1, 5)), Uint16Array.of(0x3c00, 0xc000));
});

Deno.test("bytes of another length are refused", () => {
  assertThrows(() => toFloat32(info("F16", 4), new Uint8Array(6)), RangeError, "has 4 bytes, but 6 were given");
});
