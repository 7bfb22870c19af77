/**
 * Pictures as PNG files, and texts in them: the chunks tEXt, zTXt and iTXt of the PNG specification (W3C, third edition,
 * 11.3.3).
 * @module
 */
import { Buffer } from "node:buffer";
import { crc32, deflateSync, inflateSync } from "node:zlib";
import { LIMITS } from "../pipeline/limits.ts";
import type { Image } from "../pipeline/request.ts";
import { filterRows, type PngHeader, readPixels, rowBytes } from "./png_rows.ts";

/** A text of a PNG file, by its name. */
export interface PngText {
  /** 1 to 79 Latin-1 letters. */
  readonly keyword: string;
  /** Any text without the character 0. */
  readonly text: string;
}

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** What other files begin with. */
const OTHERS = [["JPEG", "\xff\xd8\xff"], ["GIF", "GIF8"], ["WebP", "RIFF"], ["BMP", "BM"]] as const;

/** Bits of a sample that each colour type may have. */
const DEPTHS: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

/**
 * The PNG file of a picture: 8-bit RGB; the same bytes for the same pixels, and those that pngjs writes. Its streams
 * hold on to 0.4 MiB a picture, zlib alone to nothing. `texts` stand before the pixels, where a reader finds
 * them without reading these. As Python's imaging library writes them: tEXt where Latin-1 suffices, iTXt, uncompressed,
 * otherwise.
 */
export function encodePng(image: Image, texts: readonly PngText[] = []): Uint8Array<ArrayBuffer> {
  const header = concat([bigEndian(image.width), bigEndian(image.height), Uint8Array.of(8, 2, 0, 0, 0)]);
  // Run lengths (strategy 3) suit filtered rows: for the gallery 1 % longer than all that repeats, in a fortieth of the time.
  const data = deflateSync(filterRows(image), { level: 9, strategy: 3 });
  return concat([
    Uint8Array.from(SIGNATURE),
    writeChunk("IHDR", [header]),
    ...texts.map(writeText),
    writeChunk("IDAT", [data]),
    writeChunk("IEND", []),
  ]);
}

/**
 * The pixels of a PNG file of any colour type and depth, in 8 bits, transparency laid over `background` grey.
 *
 * @throws {SyntaxError} when it is damaged or not a PNG file.
 * @throws {RangeError} when it is larger than {@link LIMITS} allow; nothing is unpacked then.
 */
export function decodePng(bytes: Uint8Array, background = 255): Image {
  const { header, PLTE: [palette], tRNS: [transparency], IDAT } = readChunks(bytes, ["PLTE", "tRNS", "IDAT"]);
  if (IDAT.length === 0) throw damaged("it holds no pixels");
  const size = rowBytes(header);
  const rows = inflate(concat(IDAT), size, "its pixels");
  if (rows.length < size) throw damaged("it has fewer pixels than its header says");
  try {
    const { width, height } = header;
    return { width, height, pixels: readPixels(header, rows, { palette, transparency, background }) };
  } catch (cause) {
    throw damaged((cause as Error).message, cause);
  }
}

/**
 * The texts of a PNG file that have one of these names, or any that a text may have, in their order.
 *
 * @throws {SyntaxError} when it is damaged or not a PNG file.
 * @throws {RangeError} when it is larger than {@link LIMITS} allow.
 */
export function readTexts(png: Uint8Array, keywords?: readonly string[]): PngText[] {
  const chunks = readChunks(png, Object.keys(textReaders));
  const found = Object.entries(textReaders).flatMap(([type, read]) => chunks[type]!.map((data) => ({ data, read })));
  if (found.length > LIMITS.pngTexts) {
    throw new RangeError(`it has ${found.length} texts; at most ${LIMITS.pngTexts} are read`);
  }
  return found.toSorted((a, b) => a.data.byteOffset - b.data.byteOffset).flatMap(({ data, read }) => {
    const [name, rest] = cutAtZero(data);
    const keyword = fromLatin1(name.subarray(0, 80));
    if (keywords ? !keywords.includes(keyword) : !KEYWORD.test(keyword)) return [];
    if (rest.length > LIMITS.textBytes) throw tooLong(keyword);
    return [{ keyword, text: read(rest, keyword) }];
  });
}

/** Names that a text may have (11.3.3.1): Latin-1 letters, and no spaces at the ends or beside each other. */
const KEYWORD = /^(?! )(?:[\x21-\x7e\xa1-\xff]| (?! |$)){1,79}$/;

function tooLong(keyword: string): RangeError {
  return new RangeError(`its ${keyword} text is too long; at most ${LIMITS.textBytes} bytes are read`);
}

function damaged(problem: string, cause?: unknown): SyntaxError {
  return new SyntaxError(`it is a damaged PNG: ${problem}`, { cause });
}

function checkSignature(bytes: Uint8Array): void {
  if (SIGNATURE.every((byte, i) => bytes[i] === byte)) return;
  const start = String.fromCharCode(...bytes.subarray(0, 4));
  const other = OTHERS.find(([_kind, signature]) => start.startsWith(signature));
  throw new SyntaxError(other ? `it is a ${other[0]}; only PNG is read` : "it is not a PNG");
}

/**
 * The header of a PNG file and the data of its chunks of some types. All of it is walked over, and every checksum
 * tested; what follows its end is nobody's.
 */
function readChunks<Type extends string>(
  png: Uint8Array,
  types: readonly Type[],
): { readonly header: PngHeader } & Readonly<Record<Type, Uint8Array[]>> {
  checkSignature(png);
  if (png.length > LIMITS.pngBytes) {
    throw new RangeError(`it has ${png.length} bytes; at most ${LIMITS.pngBytes} are read`);
  }
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const found = new Map<string, Uint8Array[]>(types.map((type) => [type, []]));
  let header: PngHeader | undefined;
  for (let start = SIGNATURE.length, count = 1;; count++) {
    const end = start + 12 <= png.length ? start + 12 + view.getUint32(start) : Infinity;
    if (end > png.length) throw damaged("it ends too early");
    if (count > LIMITS.pngChunks) throw new RangeError(`it has more than ${LIMITS.pngChunks} chunks`);
    const named = png.subarray(start + 4, end - 4);
    const type = fromLatin1(named.subarray(0, 4));
    const data = named.subarray(4);
    if (crc32(named) !== view.getUint32(end - 4)) throw damaged(`the checksum of a chunk ${type} is wrong`);
    if ((type === "IHDR") !== (header === undefined)) throw damaged("it must begin with a header, and have no other");
    if (type === "IEND") break;
    header ??= readHeader(data);
    found.get(type)?.push(data);
    start = end;
  }
  return { header: header!, ...Object.fromEntries(found) as Record<Type, Uint8Array[]> };
}

function readHeader(data: Uint8Array): PngHeader {
  if (data.length !== 13) throw damaged(`its header has ${data.length} bytes, and must have 13`);
  const view = new DataView(data.buffer, data.byteOffset);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colourType, compression, filter, interlace] = data.subarray(8) as unknown as [
    number,
    number,
    number,
    number,
    number,
  ];
  if (width === 0 || height === 0) throw damaged(`it has ${width}x${height} pixels`);
  if (width * height > LIMITS.pngPixels) {
    throw new RangeError(`it has ${width}x${height} pixels; at most ${LIMITS.pngPixels} are read`);
  }
  if (!DEPTHS[colourType]?.includes(depth) || compression + filter > 0 || interlace > 1) {
    throw damaged("its header has a value that there is not");
  }
  return { width, height, depth, colourType, interlaced: interlace === 1 };
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

/** What follows the keyword of each type of text. */
const textReaders: Readonly<Record<string, (data: Uint8Array, keyword: string) => string>> = {
  tEXt: fromLatin1,
  zTXt: (data, keyword) => fromLatin1(inflateText(data.subarray(1), keyword)),
  iTXt: (data, keyword) => {
    const [_language, translated] = cutAtZero(data.subarray(2));
    const [_keyword, text] = cutAtZero(translated);
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(data[0] === 1 ? inflateText(text, keyword) : text);
  },
};

function cutAtZero(bytes: Uint8Array): [before: Uint8Array, after: Uint8Array] {
  const zero = bytes.indexOf(0);
  if (zero < 0) throw damaged("a text has no end");
  return [bytes.subarray(0, zero), bytes.subarray(zero + 1)];
}

function inflateText(bytes: Uint8Array, keyword: string): Uint8Array {
  return inflate(bytes, LIMITS.textBytes, `its ${keyword} text`);
}

function inflate(bytes: Uint8Array, most: number, what: string): Uint8Array {
  try {
    return inflateSync(bytes, { maxOutputLength: most });
  } catch (cause) {
    const isLarge = (cause as { code?: string }).code === "ERR_BUFFER_TOO_LARGE";
    throw isLarge
      ? new RangeError(`${what} would fill more than ${most} bytes`, { cause })
      : damaged(`${what} cannot be unpacked`, cause);
  }
}

/** Not by TextDecoder, whose `latin1` is Windows-1252. */
function fromLatin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
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
