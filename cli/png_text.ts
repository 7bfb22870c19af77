/**
 * Texts inside PNG files: the chunks tEXt, zTXt and iTXt of the PNG specification (W3C, third edition, 11.3.3).
 * @module
 */
import { crc32, inflateSync } from "node:zlib";

/** A text and its name. */
export interface PngText {
  /** 1 to 79 Latin-1 letters. */
  readonly keyword: string;
  /** Any text without the character 0. */
  readonly text: string;
}

/** A chunk and where it lies. */
interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
  /** Offset of its first byte, which is the first of its length. */
  readonly start: number;
  readonly intact: boolean;
}

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** No prompt is that long; a small file can claim to inflate to gigabytes. */
const MOST_BYTES = 2 ** 24;

/**
 * The PNG file with `texts` before its pixels, where a reader finds them without reading the pixels. As Python's
 * imaging library does it, which other tools write with: tEXt where Latin-1 suffices, iTXt, uncompressed, otherwise.
 *
 * @throws {SyntaxError} when `png` is no PNG file.
 */
export function insertTexts(png: Uint8Array, texts: readonly PngText[]): Uint8Array<ArrayBuffer> {
  const pixels = chunksOf(png).find(({ type }) => type === "IDAT");
  if (pixels === undefined) throw new SyntaxError("The PNG file has no pixels");
  const chunks = texts.map(writeText);
  return concat([png.subarray(0, pixels.start), ...chunks, png.subarray(pixels.start)]);
}

/**
 * All texts of a PNG file, in their order.
 *
 * @throws {SyntaxError} when it is no PNG file, or damaged.
 */
export function readTexts(png: Uint8Array): PngText[] {
  return chunksOf(png).flatMap((chunk) => {
    const read = readers[chunk.type];
    if (read === undefined) return [];
    if (!chunk.intact) throw new SyntaxError(`The PNG file is damaged: its ${chunk.type} chunk has a wrong checksum`);
    return [read(chunk.data)];
  });
}

function chunksOf(png: Uint8Array): Chunk[] {
  if (SIGNATURE.some((byte, index) => png[index] !== byte)) throw new SyntaxError("This is no PNG file");
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const chunks: Chunk[] = [];
  for (let start = SIGNATURE.length; start < png.length;) {
    const end = start + 12 <= png.length ? start + 12 + view.getUint32(start) : Infinity;
    if (end > png.length) throw new SyntaxError("The PNG file ends in the middle of a chunk");
    const named = png.subarray(start + 4, end - 4);
    const intact = crc32(named) === view.getUint32(end - 4);
    chunks.push({ type: fromLatin1(named.subarray(0, 4)), data: named.subarray(4), start, intact });
    if (chunks.at(-1)!.type === "IEND") break;
    start = end;
  }
  return chunks;
}

function writeText({ keyword, text }: PngText): Uint8Array {
  const name = toLatin1(`${keyword}\0`);
  // deno-lint-ignore no-control-regex
  if (/^[\x01-\xff]*$/.test(text)) return writeChunk("tEXt", [name, toLatin1(text)]);
  // Not compressed, no compression method, no language, no translated keyword.
  return writeChunk("iTXt", [name, new Uint8Array(4), new TextEncoder().encode(text)]);
}

function writeChunk(type: string, parts: readonly Uint8Array[]): Uint8Array {
  const named = concat([toLatin1(type), ...parts]);
  return concat([bigEndian(named.length - 4), named, bigEndian(crc32(named))]);
}

const readers: Readonly<Record<string, (data: Uint8Array) => PngText>> = {
  tEXt: (data) => {
    const [keyword, text] = cutAtZero(data);
    return { keyword: fromLatin1(keyword), text: fromLatin1(text) };
  },
  zTXt: (data) => {
    const [keyword, rest] = cutAtZero(data);
    return { keyword: fromLatin1(keyword), text: fromLatin1(inflate(rest.subarray(1))) };
  },
  iTXt: (data) => {
    const [keyword, rest] = cutAtZero(data);
    const [_language, translated] = cutAtZero(rest.subarray(2));
    const [_keyword, text] = cutAtZero(translated);
    return {
      keyword: fromLatin1(keyword),
      text: new TextDecoder("utf-8", { ignoreBOM: true }).decode(rest[0] === 1 ? inflate(text) : text),
    };
  },
};

function cutAtZero(bytes: Uint8Array): [before: Uint8Array, after: Uint8Array] {
  const zero = bytes.indexOf(0);
  if (zero < 0) throw new SyntaxError("The PNG file is damaged: a text has no end");
  return [bytes.subarray(0, zero), bytes.subarray(zero + 1)];
}

function inflate(bytes: Uint8Array): Uint8Array {
  try {
    return inflateSync(bytes, { maxOutputLength: MOST_BYTES });
  } catch (cause) {
    throw new SyntaxError(`The PNG file is damaged: a text cannot be decompressed: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Not by TextDecoder, whose `latin1` is Windows-1252. */
function fromLatin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

function toLatin1(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

function bigEndian(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
