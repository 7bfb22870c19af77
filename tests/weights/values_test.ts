import { assertEquals, assertThrows } from "@std/assert";
import {
  BYTES_PER_ELEMENT,
  type DType,
  readTarget,
  type TensorInfo,
  type TensorSource,
} from "../../weights/tensor_source.ts";
import { readValues, toFloat32 } from "../../weights/values.ts";

function info(dtype: DType, bytes: number): TensorInfo {
  return { name: "a", dtype, shape: [bytes / BYTES_PER_ELEMENT[dtype]], bytes };
}

function bytesOf(values: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.buffer);
}

/** A source of one tensor `a`, and the largest number of bytes that were read at once. */
function source(
  dtype: DType,
  values: ArrayBufferView<ArrayBuffer>,
): Omit<TensorSource, "readAsync"> & { most: number } {
  const bytes = bytesOf(values);
  const tensor = info(dtype, bytes.length);
  return {
    label: "source",
    tensors: new Map([["a", tensor]]),
    most: 0,
    read(_, options) {
      const { begin, into } = readTarget(tensor, options);
      into.set(bytes.subarray(begin, begin + into.length));
      this.most = Math.max(this.most, into.length);
      return into;
    },
    [Symbol.dispose]() {},
  };
}

function halves(dtype: DType, values: ArrayBufferView<ArrayBuffer>): number[] {
  const into = new Uint16Array(values.byteLength / BYTES_PER_ELEMENT[dtype]);
  readValues(source(dtype, values), "a", into);
  return Array.from(into);
}

const PATTERNS = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

Deno.test("all half and bfloat16 bit patterns widen exactly", () => {
  const widened = (dtype: DType) => {
    const into = new Float32Array(65536);
    readValues(source(dtype, PATTERNS), "a", into);
    assertEquals(into, toFloat32(info(dtype, 131072), bytesOf(PATTERNS)));
    return into;
  };
  const [fromHalf, fromBrain] = [widened("F16"), widened("BF16")];
  const view = new DataView(new ArrayBuffer(4));
  for (const bits of PATTERNS) {
    view.setUint16(0, bits);
    assertEquals(fromHalf[bits], view.getFloat16(0));
    assertEquals(fromBrain[bits], view.getFloat32(0));
  }
});

Deno.test("half bits: kept, or rounded to nearest even", () => {
  const singles = Float32Array.of(1, -2, 65504, 65520, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -24, 2 ** -26);
  assertEquals(halves("F32", singles), [0x3c00, 0xc000, 0x7bff, 0x7c00, 0x3c00, 0x3c02, 0x0001, 0x0000]);
  assertEquals(halves("F16", Uint8Array.of(1, 2, 3, 4)), [0x0201, 0x0403]);
});

Deno.test("every bfloat16 becomes the half that its value rounds to", () => {
  const view = new DataView(new ArrayBuffer(4));
  for (const [bits, half] of halves("BF16", PATTERNS).entries()) {
    view.setUint32(0, bits << 16);
    const value = view.getFloat32(0);
    view.setFloat16(0, value);
    // Every NaN may have bits of its own.
    if (!Number.isNaN(value)) assertEquals(half, view.getUint16(0), `bits ${bits}`);
  }
});

Deno.test("a large tensor is converted in chunks, whatever its type, and read at once where nothing is to be converted", () => {
  const count = 5_000_001;
  const values = Float16Array.from({ length: count }, (_, i) => i % 1000 - 500);
  const singles = new Float32Array(values);
  const brains = Uint16Array.from(new Uint32Array(singles.buffer), (bits) => bits >>> 16);
  const into = { F32: new Float32Array(count), F16: new Uint16Array(count) };
  for (const [dtype, stored] of [["F16", values], ["BF16", brains], ["F32", singles]] as const) {
    for (const [type, target] of Object.entries(into)) {
      const from = source(dtype, stored);
      readValues(from, "a", target.fill(1));
      const got = type === "F32" ? target : new Float16Array(target.buffer);
      // Whole numbers up to 500 have at most nine bits; a bfloat16 holds eight of them.
      const same = (value: number, i: number) =>
        dtype === "BF16" ? Math.abs(value - singles[i]!) <= 1 : value === singles[i];
      assertEquals(got.findIndex((value, i) => !same(value, i)), -1, `${dtype} to ${type}`);
      assertEquals(from.most, dtype === type ? stored.byteLength : 4 * 2 ** 20);
    }
  }
});

Deno.test("bytes in the middle of a buffer, at an odd place", () => {
  const buffer = Uint8Array.of(9, 0, 0x3c, 0, 0xc0, 9);
  assertEquals(toFloat32(info("F16", 4), buffer.subarray(1, 5)), Float32Array.of(1, -2));
});

Deno.test("bytes of another length are refused, and room for another number of values", () => {
  assertThrows(() => toFloat32(info("F16", 4), new Uint8Array(6)), RangeError, "has 4 bytes, but 6 were given");
  const from = source("F16", new Uint16Array(2));
  assertThrows(() => readValues(from, "a", new Float32Array(3)), RangeError, "has 2 values, but there is room for 3");
  assertThrows(() => from.read("a", { begin: 2, into: new Uint8Array(3) }), RangeError, "has 4 bytes, but 5 are to be");
});
