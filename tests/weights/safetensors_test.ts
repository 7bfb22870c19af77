import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ModelFileError, ModelNotFoundError } from "../../weights/errors.ts";
import { openSafetensors } from "../../weights/safetensors.ts";
import { toFloat32 } from "../../weights/values.ts";
import { claiming, entry, safetensors, withFile, withFolder } from "./safetensors_bytes.ts";

const A = entry([2], 0, 8);
const HUGE = 2 ** 52;
const UNSAFE = "9007199254740993"; // 2^53 + 1

/** One F32 tensor of 8 bytes, with something changed. */
function tensor(change: Record<string, unknown>) {
  return safetensors({ a: { ...A, ...change } }, 8);
}

function without(key: string) {
  return safetensors({ a: { ...A, [key]: undefined } }, 8);
}

/** Bytes of a text whose characters are all below 256. */
function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Names and nothing for them. */
function range(count: number): [string, null][] {
  return Array.from({ length: count }, (_, i) => [`${i}`, null]);
}

const REJECTED: readonly (readonly [title: string, file: Uint8Array, words: string])[] = [
  ["empty", new Uint8Array(0), "the file is empty"],
  ...[1, 2, 3, 4, 5, 6, 7].map((bytes) =>
    [`${bytes} bytes`, new Uint8Array(bytes), `only ${bytes} bytes, not even the 8`] as const
  ),
  ["header length 0", claiming(0n, "{}"), "the header is empty"],
  ["header length over 25 MB", claiming(25_000_001n, "{}"), "claims 25000001 bytes, more than 25000000"],
  ["header length over 2^53", claiming(2n ** 53n + 2n, "{}"), "claims 9007199254740994 bytes"],
  ["header length of all ones", claiming(2n ** 64n - 1n, "{}"), "it is probably not a safetensors file"],
  ["header longer than the file", claiming(7n, "{}"), "5 of 7 bytes of the header are missing"],
  ["Git LFS pointer", bytesOf("version https://git-lfs.github.com/spec/v1\n"), "this is a Git LFS pointer, not a saf"],
  [
    "zip archive",
    bytesOf("PK\x03\x04\x14\0\0\0\x08\0archive/data.pkl"),
    "this is a zip archive (a PyTorch .ckpt or .bin?)",
  ],
  ...[1, 2, 3, 4, 5].map((protocol) =>
    [
      `pickle of protocol ${protocol}`,
      bytesOf(`\x80${String.fromCharCode(protocol)}ccollections`),
      "a Python pickle",
    ] as const
  ),
  ["GGUF file", bytesOf("GGUF\x03\0\0\0\x07\0\0\0\0\0\0\0"), "this is a GGUF file (weights of stable-diffusion.cpp?)"],
  ["web page", bytesOf("<!DOCTYPE html><html>"), "this is a web page, not a safetensors file; download the file"],
  ["header not UTF-8", safetensors(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), "the header is not UTF-8"],
  ["header with a BOM", safetensors("\uFEFF{}"), "starts with a byte order mark"],
  ["header not JSON", safetensors("{"), "the header is not JSON"],
  ["header with a trailing comma", safetensors(`{"a":${JSON.stringify(A)},}`, 8), "the header is not JSON"],
  ["header a list", safetensors([1, 2]), "the header is a list of 2, not an object"],
  ["header null", safetensors("null"), "the header is null, not an object"],
  ["header a string", safetensors('"a"'), 'the header is "a", not an object'],
  ["tensors that overlap", safetensors({ a: A, b: entry([2], 4, 12) }, 12), '"a" and "b" overlap in bytes 4 to 8'],
  ["tensors in one place", safetensors({ a: A, b: A }, 8), '"a" and "b" overlap in bytes 0 to 8'],
  ["a hole", safetensors({ a: A, b: entry([2], 12, 20) }, 20), '4 bytes before tensor "b" belong to no tensor'],
  ["not starting at 0", safetensors({ a: entry([2], 4, 12) }, 12), '4 bytes before tensor "a" belong to no tensor'],
  ["end before begin", safetensors({ a: entry([2], 8, 0) }, 8), "ends at byte 0, before it begins at 8"],
  ["bytes after the last tensor", safetensors({ a: A }, 11), "bytes that no tensor has follow the last one: 3"],
  ["bytes after no tensor", safetensors({}, 1), "bytes that no tensor has follow the last one: 1"],
  ["bytes missing", safetensors({ a: A }, 5), "3 of 8 bytes of data are missing"],
  ["all bytes missing", safetensors({ a: A }), "8 of 8 bytes of data are missing"],
  ["shape larger than the bytes", tensor({ shape: [3] }), "a shape of 12 bytes, but 8 bytes of data"],
  ["shape smaller than the bytes", tensor({ shape: [] }), "a shape of 4 bytes, but 8 bytes of data"],
  ["type wider than the bytes", tensor({ dtype: "F64" }), "a shape of 16 bytes, but 8 bytes of data"],
  ["half a byte", safetensors({ a: entry([1], 0, 0, "F4") }), "a shape of 0.5 bytes, but 0 bytes of data"],
  ["product that overflows", tensor({ shape: [HUGE, HUGE] }), "more than can be counted"],
  ["overflow behind a zero", safetensors({ a: entry([0, HUGE, HUGE], 0, 0) }), "more than can be counted"],
  ["overflow before a zero", safetensors({ a: entry([HUGE, HUGE, 0], 0, 0) }), "more than can be counted"],
  ["unknown dtype", tensor({ dtype: "F31" }), 'unknown dtype "F31"'],
  ["dtype in lower case", tensor({ dtype: "f32" }), 'unknown dtype "f32"'],
  ["dtype of an object's prototype", tensor({ dtype: "toString" }), 'unknown dtype "toString"'],
  ["dtype not a string", tensor({ dtype: null }), "unknown dtype null"],
  ["unsupported I64", tensor({ shape: [1], dtype: "I64" }), "stored as I64, which is not supported"],
  ["unsupported F8", tensor({ shape: [8], dtype: "F8_E4M3" }), "stored as F8_E4M3, which is not supported"],
  ["dimension negative", tensor({ shape: [-2, -1] }), "-2 in its shape, not a whole number"],
  ["dimension of -0", safetensors('{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}'), "in its shape"],
  ["dimension fractional", tensor({ shape: [1.5] }), "1.5 in its shape"],
  ["dimension a string", tensor({ shape: ["2"] }), '"2" in its shape'],
  ["dimension null", tensor({ shape: [null] }), "null in its shape"],
  ["dimension nested", tensor({ shape: [[2]] }), "a list of 1 in its shape"],
  ["dimension nested deeply", safetensors(`{"a":${"[".repeat(1e6)}${"]".repeat(1e6)}}`), "a list of 1, not an object"],
  ["dimension over 2^53", safetensors(`{"a":{"dtype":"F32","shape":[${UNSAFE}],"data_offsets":[0,8]}}`, 8), "shape"],
  ["dimension infinite", safetensors('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', 8), "in its shape"],
  ["shape not a list", tensor({ shape: 2 }), "2 as shape, not a list"],
  ["one offset", tensor({ data_offsets: [0] }), "1 data_offsets, not 2"],
  ["three offsets", tensor({ data_offsets: [0, 8, 8] }), "3 data_offsets, not 2"],
  ["offset negative", tensor({ data_offsets: [-8, 0] }), "-8 in its data_offsets"],
  ["offset fractional", tensor({ data_offsets: [0, 7.5] }), "7.5 in its data_offsets"],
  ["offset a string", tensor({ data_offsets: ["0", 8] }), '"0" in its data_offsets'],
  [
    "offset over 2^53",
    safetensors(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,${UNSAFE}]}}`, 8),
    "data_offsets",
  ],
  ["offsets not a list", tensor({ data_offsets: 8 }), "8 as data_offsets, not a list"],
  ["no dtype", without("dtype"), 'tensor "a" has no dtype'],
  ["no shape", without("shape"), 'tensor "a" has no shape'],
  ["no offsets", without("data_offsets"), 'tensor "a" has no data_offsets'],
  ["no offset", tensor({ data_offsets: [] }), "0 data_offsets, not 2"],
  ["offset null", tensor({ data_offsets: [null, 8] }), "null in its data_offsets"],
  ["offset nested", tensor({ data_offsets: [[0], 8] }), "a list of 1 in its data_offsets"],
  [
    "too many tensors",
    safetensors(Object.fromEntries(range(2 ** 16 + 1))),
    "names 65537 tensors; at most 65536 are read",
  ],
  [
    "too many elements",
    safetensors({ a: entry([2 ** 15, 2 ** 15], 0, 2 ** 32) }),
    "of 1073741824 elements; at most 536870912",
  ],
  ["too many dimensions", tensor({ shape: new Array(9).fill(1) }), "has 9 numbers in its shape, more than any tensor"],
  ["endless dimensions", tensor({ shape: [...new Array(2e6).fill(1), 2] }), "has 2000001 numbers in its shape"],
  ["endless offsets", tensor({ data_offsets: new Array(2e6).fill(0) }), "has 2000000 numbers in its data_offsets"],
  ["too long a name", safetensors({ ["a".repeat(257)]: A }, 8), "a name of 257 characters; at most 256 are read"],
  ["a name with control characters", safetensors({ "a\x1b]0;x": null }), "tensor a text of 6 characters is null"],
  ["entry null", safetensors({ a: null }), 'tensor "a" is null, not an object'],
  ["metadata null", safetensors({ __metadata__: null }), "__metadata__ is null, not an object"],
  ["metadata of numbers", safetensors({ __metadata__: { step: 7 } }), '__metadata__ has 7 as "step", not a string'],
  ["a tensor twice", safetensors(`{"a":null,"a":${JSON.stringify(A)}}`, 8), 'the key "a" twice'],
  ["a tensor twice, escaped", safetensors(`{"\\u0061":null,"a":${JSON.stringify(A)}}`, 8), 'the key "a" twice'],
  ["a field twice", safetensors('{"a":{"dtype":"F16","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8), '"dtype"'],
  ["metadata twice", safetensors('{"__metadata__":{},"__metadata__":{}}'), 'the key "__metadata__" twice'],
];

for (const [title, file, words] of REJECTED) {
  Deno.test(`safetensors rejects: ${title}`, () => {
    withFile(file, (path) => {
      const error = assertThrows(() => openSafetensors(path), ModelFileError, words);
      assertStringIncludes(error.message, path);
    });
  });
}

const EMPTY = entry([0, 3], 8, 8);
const ACCEPTED: readonly (readonly [title: string, file: Uint8Array, shapes: Record<string, number[]>])[] = [
  ["spaces after the header", safetensors(JSON.stringify({ a: A }) + "     ", 8), { a: [2] }],
  ["spaces before the header", safetensors("   " + JSON.stringify({ a: A }), 8), { a: [2] }],
  ["no tensor", safetensors({}), {}],
  ["metadata alone", safetensors({ __metadata__: { format: "pt" } }), {}],
  ["a tensor of no bytes", safetensors({ a: A, z: EMPTY, b: entry([1], 8, 12) }, 12), { a: [2], z: [0, 3], b: [1] }],
  ["a scalar", safetensors({ a: entry([], 0, 4) }, 4), { a: [] }],
  ["another order", safetensors({ b: entry([1], 8, 12), a: A }, 12), { a: [2], b: [1] }],
  [
    "names that are no paths",
    safetensors(
      '{"__proto__":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"../x":{"dtype":"F16","shape":[0],"data_offsets":[2,2]}}',
      2,
    ),
    JSON.parse('{"__proto__":[1],"../x":[0]}'),
  ],
];

for (const [title, file, shapes] of ACCEPTED) {
  Deno.test(`safetensors accepts: ${title}`, () => {
    withFile(file, (path) => {
      using source = openSafetensors(path);
      const found = Array.from(source.tensors, ([name, { shape }]) => [name, shape]);
      assertEquals(found, Object.entries(shapes));
      for (const [name, { bytes }] of source.tensors) assertEquals(source.read(name).length, bytes);
    });
  });
}

Deno.test("safetensors accepts: NaN and infinity in data", () => {
  const values = Float32Array.of(NaN, -Infinity);
  const file = safetensors({ a: A }, 8);
  file.set(new Uint8Array(values.buffer), file.length - 8);
  withFile(file, (path) => {
    using source = openSafetensors(path);
    assertEquals(toFloat32(source.tensors.get("a")!, source.read("a")), values);
  });
});

Deno.test("safetensors reads each tensor's own bytes, whatever came before", () => {
  withFile(
    safetensors({ b: entry([2], 3, 7, "BF16"), a: entry([3], 0, 3, "U8"), c: entry([1], 7, 9, "F16") }, 9),
    (path) => {
      using source = openSafetensors(path, { ignore: (name) => name === "a" });
      assertEquals(source.read("c"), Uint8Array.of(7, 8));
      assertEquals(source.read("b"), Uint8Array.of(3, 4, 5, 6));
      assertThrows(() => source.read("a"), ModelFileError, 'there is no tensor "a"');
    },
  );
});

Deno.test("safetensors notices a file that shrinks while it is read", () => {
  withFile(safetensors({ a: A, b: entry([2], 8, 16) }, 16), (path) => {
    using source = openSafetensors(path);
    Deno.truncateSync(path, Deno.statSync(path).size - 3);
    assertEquals(source.read("a").length, 8);
    assertThrows(
      () => source.read("b"),
      ModelFileError,
      "the file became shorter while it was read, by this many bytes or more: 3",
    );
  });
});

Deno.test("safetensors: a long name does not make a long error", () => {
  withFile(safetensors({ ["x".repeat(1e6)]: null }), (path) => {
    const error = assertThrows(
      () => openSafetensors(path),
      ModelFileError,
      "a name of 1000000 characters; at most 256",
    );
    assert(error.message.length < path.length + 200);
  });
});

Deno.test("safetensors: what is no file is not found", () => {
  withFolder((folder) => {
    assertThrows(() => openSafetensors(folder), ModelNotFoundError, "There is no file");
    assertThrows(() => openSafetensors(`${folder}/none`), ModelNotFoundError, "none");
    assertThrows(() => openSafetensors(`${folder}/none/none`), ModelNotFoundError, "none");
  });
});
