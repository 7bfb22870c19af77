/**
 * Pictures as PNG files, and texts in them: the chunks tEXt, zTXt and iTXt of the PNG specification (W3C, third edition,
 * 11.3.3).
 * @module
 */
import { PNG } from "pngjs";
import { Buffer } from "node:buffer";
import { crc32, inflateSync } from "node:zlib";
import type { Image } from "../pipeline/request.ts";

/** A text of a PNG file, by its name. */
export interface PngText {
  /** 1 to 79 Latin-1 letters. */
  readonly keyword: string;
  /** Any text without the character 0. */
  readonly text: string;
}

/** The most pixels that are read: 256 MiB of them, and as much again while they are read. */
const MOST_PIXELS = 2 ** 26;
/** No prompt is that long; a small file can claim to inflate to gigabytes. */
const MOST_BYTES = 2 ** 24;

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** What other files begin with. */
const OTHERS = [["JPEG", "\xff\xd8\xff"], ["GIF", "GIF8"], ["WebP", "RIFF"], ["BMP", "BM"]] as const;

/**
 * The PNG file of a picture: 8-bit RGB; the same bytes for the same pixels. `texts` stand before the pixels, where a
 * reader finds them without reading these. As Python's imaging library writes them: tEXt where Latin-1 suffices, iTXt,
 * uncompressed, otherwise.
 */
export function encodePng({ width, height, pixels }: Image, texts: readonly PngText[] = []): Uint8Array<ArrayBuffer> {
  const colours = { colorType: 2, inputColorType: 2, inputHasAlpha: false } as const;
  const png = new PNG({ width, height, ...colours });
  png.data = Buffer.from(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  const file = new Uint8Array(PNG.sync.write(png, colours));
  const { start } = chunksOf(file).find(({ type }) => type === "IDAT")!;
  return concat([file.subarray(0, start), ...texts.map(writeText), file.subarray(start)]);
}

/**
 * The pixels of a PNG file of any colour type and depth, in 8 bits, transparency laid over `background` grey.
 *
 * @throws {SyntaxError} when it is damaged or not a PNG file.
 * @throws {RangeError} when it has more than 2^26 pixels; nothing is decoded then.
 */
export function decodePng(bytes: Uint8Array, background = 255): Image {
  checkHeader(bytes);
  const { width, height, data } = readPng(bytes);
  const pixels = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const alpha = data[from + 3]!;
    for (let channel = 0; channel < 3; channel++) {
      pixels[to++] = Math.round((data[from + channel]! * alpha + background * (255 - alpha)) / 255);
    }
  }
  return { width, height, pixels };
}

/**
 * All texts of a PNG file, in their order.
 *
 * @throws {SyntaxError} when it is damaged or not a PNG file.
 */
export function readTexts(png: Uint8Array): PngText[] {
  return chunksOf(png).flatMap(({ type, data, intact }) => {
    const read = readers[type];
    if (read === undefined) return [];
    if (!intact) throw new SyntaxError(`it is a damaged PNG: its ${type} chunk has a wrong checksum`);
    return [read(data)];
  });
}

function checkHeader(bytes: Uint8Array): void {
  checkSignature(bytes);
  if (bytes.length < 33) throw new SyntaxError("it is a damaged PNG: it ends in its header");
  const header = new DataView(bytes.buffer, bytes.byteOffset);
  const [width, height] = [header.getUint32(16), header.getUint32(20)];
  if (width * height > MOST_PIXELS) {
    throw new RangeError(`it has ${width}x${height} pixels; at most ${MOST_PIXELS} are read`);
  }
}

function checkSignature(bytes: Uint8Array): void {
  if (SIGNATURE.every((byte, i) => bytes[i] === byte)) return;
  const start = String.fromCharCode(...bytes.subarray(0, 4));
  const other = OTHERS.find(([_kind, signature]) => start.startsWith(signature));
  throw new SyntaxError(other ? `it is a ${other[0]}; only PNG is read` : "it is not a PNG");
}

function readPng(bytes: Uint8Array): PNG {
  try {
    return PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (cause) {
    throw new SyntaxError(`it is a damaged PNG: ${(cause as Error).message}`, { cause });
  }
}

interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
  /** Offset of its first byte, which is the first of its length. */
  readonly start: number;
  readonly intact: boolean;
}

function chunksOf(png: Uint8Array): Chunk[] {
  checkSignature(png);
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const chunks: Chunk[] = [];
  for (let start = SIGNATURE.length; start < png.length;) {
    const end = start + 12 <= png.length ? start + 12 + view.getUint32(start) : Infinity;
    if (end > png.length) throw new SyntaxError("it is a damaged PNG: it ends in the middle of a chunk");
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
  if (zero < 0) throw new SyntaxError("it is a damaged PNG: a text has no end");
  return [bytes.subarray(0, zero), bytes.subarray(zero + 1)];
}

function inflate(bytes: Uint8Array): Uint8Array {
  try {
    return inflateSync(bytes, { maxOutputLength: MOST_BYTES });
  } catch (cause) {
    const reason = `a text cannot be decompressed: ${(cause as Error).message}`;
    throw new SyntaxError(`it is a damaged PNG: ${reason}`, { cause });
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
