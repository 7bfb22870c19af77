/**
 * PNG files of every kind, written by the letter of the specification (ISO/IEC 15948), without filters.
 * @module
 */
import { crc32, deflateSync } from "node:zlib";

/** What a file holds. */
export interface PngParts {
  readonly width: number;
  readonly height: number;
  /** 1, 2, 4, 8 or 16. */
  readonly depth: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha. */
  readonly colourType: 0 | 2 | 3 | 4 | 6;
  /** Samples of the pixel at `x` and `y`, each 0 to `2^depth - 1`. */
  readonly pixel: (x: number, y: number) => readonly number[];
  /** Bytes of the palette. */
  readonly palette?: readonly number[];
  /** Bytes of the `tRNS` chunk. */
  readonly transparency?: readonly number[];
  /** Whether it is interlaced by Adam7. */
  readonly interlaced?: boolean;
}

/** The seven passes of Adam7: first pixel and distance in x, then in y. */
const PASSES = [[0, 8, 0, 8], [4, 8, 0, 8], [0, 4, 4, 8], [2, 4, 0, 4], [0, 2, 2, 4], [1, 2, 0, 2], [
  0,
  1,
  1,
  2,
]] as const;

/** The file. */
export function pngBytes(parts: PngParts): Uint8Array<ArrayBuffer> {
  const { width, height, depth, colourType, palette, transparency, interlaced } = parts;
  const rows = (interlaced ? PASSES : [[0, 1, 0, 1] as const]).flatMap((pass) => passRows(parts, pass));
  return pngOf(
    header(width, height, [depth, colourType, 0, 0, interlaced ? 1 : 0]),
    ...(palette ? [["PLTE", palette] as const] : []),
    ...(transparency ? [["tRNS", transparency] as const] : []),
    ["IDAT", deflateSync(join(...rows))],
    ["IEND", []],
  );
}

/** A chunk's type and data. */
export type Chunk = readonly [type: string, data: Iterable<number>];

/** A file of any chunks, with their checksums. */
export function pngOf(...chunks: readonly Chunk[]): Uint8Array<ArrayBuffer> {
  return join([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], ...chunks.map(([type, data]) => chunk(type, data)));
}

/** The first chunk: depth, colour type, compression, filter and interlacing follow the size. */
export function header(width: number, height: number, rest: readonly number[] = [8, 2, 0, 0, 0]): Chunk {
  const size = new DataView(new ArrayBuffer(8));
  size.setUint32(0, width);
  size.setUint32(4, height);
  return ["IHDR", [...new Uint8Array(size.buffer), ...rest]];
}

function passRows({ width, height, depth, pixel }: PngParts, [left, across, top, down]: readonly number[]): number[][] {
  const rows: number[][] = [];
  for (let y = top!; y < height; y += down!) {
    const bits: string[] = [];
    for (let x = left!; x < width; x += across!) {
      bits.push(...pixel(x, y).map((sample) => sample.toString(2).padStart(depth, "0")));
    }
    // An empty pass has no rows.
    if (bits.length === 0) return [];
    const bytes = bits.join("").match(/.{1,8}/g)!.map((byte) => parseInt(byte.padEnd(8, "0"), 2));
    rows.push([0, ...bytes]);
  }
  return rows;
}

function chunk(type: string, data: Iterable<number>): Uint8Array {
  const body = join(new TextEncoder().encode(type), data);
  const sizes = new DataView(new ArrayBuffer(8));
  sizes.setUint32(0, body.length - 4);
  sizes.setUint32(4, crc32(body));
  const [length, check] = [new Uint8Array(sizes.buffer, 0, 4), new Uint8Array(sizes.buffer, 4, 4)];
  return join(length, body, check);
}

function join(...parts: readonly Iterable<number>[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
