import { assertEquals, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { deflateSync } from "node:zlib";
import { PNG } from "pngjs";
import { encodePng, readTexts as read } from "../../cli/png.ts";

const readTexts = (png: Uint8Array) => read(png, ["parameters", "denoise"]);

const IMAGE = { width: 3, height: 2, pixels: new Uint8Array(18).map((_, index) => index * 9) };
const PICTURE = encodePng(IMAGE);

/** CRC-32 bit by bit (PNG specification, annex D), apart from the one under test. */
function checksum(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** Walks over a PNG file: the type and data of each chunk, checksums checked. */
function walk(png: Uint8Array): { type: string; data: Uint8Array }[] {
  assertEquals(new TextDecoder("latin1").decode(png.subarray(1, 4)), "PNG");
  const view = new DataView(png.buffer, png.byteOffset);
  const chunks = [];
  for (let at = 8; at < png.length;) {
    const length = view.getUint32(at);
    const named = png.subarray(at + 4, at + 8 + length);
    assertEquals(view.getUint32(at + 8 + length), checksum(named));
    chunks.push({ type: new TextDecoder().decode(named.subarray(0, 4)), data: named.subarray(4) });
    at += 12 + length;
  }
  return chunks;
}

/** A picture with one more chunk, before its pixels or after them. */
function withChunk(type: string, data: readonly number[], where: "IDAT" | "IEND" = "IDAT"): Uint8Array {
  const named = new Uint8Array([...new TextEncoder().encode(type), ...data]);
  const chunk = new Uint8Array(named.length + 8);
  new DataView(chunk.buffer).setUint32(0, data.length);
  chunk.set(named, 4);
  new DataView(chunk.buffer).setUint32(named.length + 4, checksum(named));
  const at = Buffer.from(PICTURE).indexOf(where) - 4;
  return new Uint8Array([...PICTURE.subarray(0, at), ...chunk, ...PICTURE.subarray(at)]);
}

const bytes = (text: string) => [...new TextEncoder().encode(text)];

Deno.test("any Unicode survives, and the pixels stay what they were", () => {
  for (
    const [text, type] of [
      ["", "tEXt"],
      ["a red apple\nSteps: 3", "tEXt"],
      ["Café, 100 °C, \u0080\u009f\u00ff", "tEXt"],
      ["€", "iTXt"],
      ["\ufeff日本語 🍎 \ufeff👩‍👩‍👧 e\u0301 \u202eright to left\u202c \ufeff", "iTXt"],
      ["x".repeat(100_000), "tEXt"],
      ["\u{10ffff}".repeat(1000), "iTXt"],
    ] as const
  ) {
    const png = encodePng(IMAGE, [{ keyword: "parameters", text }, { keyword: "denoise", text: "{}" }]);
    const types = walk(png).map((chunk) => chunk.type);
    assertEquals(types, ["IHDR", type, "tEXt", "IDAT", "IEND"]);
    assertEquals(readTexts(png), [{ keyword: "parameters", text }, { keyword: "denoise", text: "{}" }]);
    assertEquals(PNG.sync.read(Buffer.from(png)).data, PNG.sync.read(Buffer.from(PICTURE)).data);
  }
});

Deno.test("the chunks are laid out as the specification says", () => {
  const png = encodePng(IMAGE, [{ keyword: "k", text: "é" }, { keyword: "k", text: "€" }]);
  const [, latin, unicode] = walk(png);
  assertEquals([...latin!.data], [...bytes("k"), 0, 0xe9]);
  assertEquals([...unicode!.data], [...bytes("k"), 0, 0, 0, 0, 0, 0xe2, 0x82, 0xac]);
});

Deno.test("texts of other writers are read: compressed, with a language, after the pixels", () => {
  const packed = (data: readonly number[]) => [...deflateSync(new Uint8Array(data))];
  for (
    const [png, text] of [
      [withChunk("zTXt", [...bytes("parameters\0\0"), ...packed([0x61, 0xe9])]), "aé"],
      [withChunk("iTXt", [...bytes("parameters\0\x01\0de\0Parameter\0"), ...packed(bytes("日本"))]), "日本"],
      [withChunk("iTXt", bytes("parameters\0\0\0en\0\0日本")), "日本"],
      [withChunk("tEXt", bytes("parameters\0a cat"), "IEND"), "a cat"],
      [new Uint8Array([...withChunk("tEXt", bytes("parameters\0a cat")), 1, 2, 3]), "a cat"],
    ] as const
  ) {
    assertEquals(readTexts(png), [{ keyword: "parameters", text }]);
  }
});

Deno.test("what is not a PNG file, or a damaged one, is refused in words", () => {
  const flipped = encodePng(IMAGE, [{ keyword: "parameters", text: "a cat" }]);
  flipped[45]! ^= 1;
  const zeros = deflateSync(new Uint8Array(2 ** 25));
  for (
    const [png, words] of [
      [new Uint8Array(), "it is not a PNG"],
      [new TextEncoder().encode("GIF89a, and more"), "it is a GIF; only PNG is read"],
      [PICTURE.subarray(0, PICTURE.length - 20), "it ends too early"],
      [PICTURE.subarray(0, PICTURE.length - 12), "it ends too early"],
      [flipped, "the checksum of a chunk tEXt is wrong"],
      [withChunk("tEXt", bytes("no zero")), "a text has no end"],
      [withChunk("zTXt", bytes("parameters\0\0no zlib")), "its parameters text cannot be unpacked"],
      [
        withChunk("zTXt", [...bytes("parameters\0\0"), ...zeros]),
        "its parameters text would fill more than 1048576 bytes",
      ],
      [
        withChunk("iTXt", [...bytes("denoise\0\x01\0\0\0"), ...zeros]),
        "its denoise text would fill more than 1048576 bytes",
      ],
      [withChunk("tEXt", [...bytes("denoise\0"), ...new Uint8Array(2 ** 20 + 1)]), "its denoise text is too long"],
      [encodePng(IMAGE, Array(65).fill({ keyword: "k", text: "" })), "it has 65 texts; at most 64 are read"],
    ] as const
  ) {
    assertThrows(() => readTexts(png), Error, words);
  }
  // What nobody asks for is not unpacked, however long.
  assertEquals(readTexts(withChunk("zTXt", [...bytes("workflow\0\0"), ...zeros])), []);
});
