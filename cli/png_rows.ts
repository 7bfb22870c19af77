/**
 * The rows of a PNG file: their filters, their passes and their samples (PNG specification, W3C, third edition, 7 to 9).
 * @module
 */
import type { Image } from "../pipeline/request.ts";

/** What a PNG file's header says of its rows. */
export interface PngHeader {
  readonly width: number;
  readonly height: number;
  /** Bits of a sample: 1, 2, 4, 8 or 16. */
  readonly depth: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha. */
  readonly colourType: number;
  /** Whether the rows are those of Adam7's passes. */
  readonly interlaced: boolean;
}

/** Samples of a pixel, by colour type. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** The passes of Adam7: first column and distance of columns, first row and distance of rows. */
const ADAM7 = [[0, 8, 0, 8], [4, 8, 0, 8], [0, 4, 4, 8], [2, 4, 0, 4], [0, 2, 2, 4], [1, 2, 0, 2], [0, 1, 1, 2]];

const FILTERS = 5;

interface Pass {
  readonly columns: readonly [first: number, step: number, count: number];
  readonly rows: readonly [first: number, step: number, count: number];
  /** Bytes of a row, its filter's apart. */
  readonly bytes: number;
}

function passesOf({ width, height, depth, colourType, interlaced }: PngHeader): readonly Pass[] {
  return (interlaced ? ADAM7 : [[0, 1, 0, 1]]).flatMap(([left = 0, across = 1, top = 0, down = 1]) => {
    const columns = [left, across, Math.ceil((width - left) / across)] as const;
    const rows = [top, down, Math.ceil((height - top) / down)] as const;
    const bytes = Math.ceil(columns[2] * CHANNELS[colourType]! * depth / 8);
    return columns[2] > 0 && rows[2] > 0 ? [{ columns, rows, bytes }] : [];
  });
}

/** Bytes of all rows, filters included. */
export function rowBytes(header: PngHeader): number {
  return passesOf(header).reduce((sum, { rows, bytes }) => sum + rows[2] * (1 + bytes), 0);
}

/**
 * The rows of 8-bit RGB pixels, each with the filter of the least sum of absolute differences (12.7): what pngjs, libpng
 * and others choose.
 */
export function filterRows({ width, height, pixels }: Image): Uint8Array {
  const bytes = 3 * width;
  const filtered = new Uint8Array(height * (1 + bytes));
  const sums = new Float64Array(FILTERS);
  // Three zeros stand to the left of each row, and a row of zeros above the first.
  let [above, row] = [new Uint8Array(3 + bytes), new Uint8Array(3 + bytes)];
  for (let y = 0, to = 0; y < height; y++) {
    row.set(pixels.subarray(y * bytes, (y + 1) * bytes), 3);
    sums.fill(0);
    for (let x = 0; x < bytes; x++) {
      for (let filter = 0; filter < FILTERS; filter++) {
        sums[filter]! += Math.abs(row[x + 3]! - predict(filter, row[x]!, above[x + 3]!, above[x]!));
      }
    }
    const filter = sums.indexOf(Math.min(...sums));
    filtered[to++] = filter;
    for (let x = 0; x < bytes; x++) {
      filtered[to++] = row[x + 3]! - predict(filter, row[x]!, above[x + 3]!, above[x]!);
    }
    [above, row] = [row, above];
  }
  return filtered;
}

/** What a filter expects of a byte, from those to its left, above it, and above to its left. */
function predict(filter: number, left: number, up: number, corner: number): number {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - 2 * corner);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/** Colours of a PNG file that its samples do not say. */
interface Extras {
  /** Three bytes a colour. */
  readonly palette: Uint8Array | undefined;
  /** The data of its `tRNS` chunk. */
  readonly transparency: Uint8Array | undefined;
  /** The grey that shows through what is transparent, 0 to 255. */
  readonly background: number;
}

/**
 * The pixels of `rows`, which lose their filters.
 *
 * @throws {SyntaxError} for a filter or a colour that there is not.
 */
export function readPixels(header: PngHeader, rows: Uint8Array, extras: Extras): Uint8Array {
  const { width, height, depth, colourType } = header;
  const pixels = new Uint8Array(3 * width * height);
  const channels = CHANNELS[colourType]!;
  const read = colourReader(header, extras);
  const samples = new Uint16Array(channels);
  let start = 0;
  for (const { columns: [left, across, columns], rows: [top, down, count], bytes } of passesOf(header)) {
    for (let row = 0; row < count; row++, start += 1 + bytes) {
      unfilter(rows, start, { bytes, back: Math.max(1, channels * depth / 8), isFirst: row === 0 });
      for (let column = 0; column < columns; column++) {
        for (let c = 0; c < channels; c++) samples[c] = sampleAt(rows, start + 1, depth, column * channels + c);
        read(samples, pixels, 3 * ((top + row * down) * width + left + column * across));
      }
    }
  }
  return pixels;
}

function unfilter(
  rows: Uint8Array,
  start: number,
  { bytes, back, isFirst }: { readonly bytes: number; readonly back: number; readonly isFirst: boolean },
): void {
  const filter = rows[start]!;
  if (filter === 0) return;
  if (filter >= FILTERS) throw new SyntaxError(`a row has the filter ${filter}, and there are 0 to 4`);
  for (let x = 1; x <= bytes; x++) {
    const at = start + x;
    const left = x <= back ? 0 : rows[at - back]!;
    const up = isFirst ? 0 : rows[at - bytes - 1]!;
    const corner = isFirst || x <= back ? 0 : rows[at - bytes - 1 - back]!;
    rows[at]! += predict(filter, left, up, corner);
  }
}

function sampleAt(rows: Uint8Array, start: number, depth: number, index: number): number {
  if (depth === 8) return rows[start + index]!;
  if (depth === 16) return 256 * rows[start + 2 * index]! + rows[start + 2 * index + 1]!;
  const bit = index * depth;
  return (rows[start + (bit >> 3)]! >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
}

/** Turns the samples of a pixel into three bytes, which it puts `at` a place of `pixels`. */
type ColourReader = (samples: Uint16Array, pixels: Uint8Array, at: number) => void;

function colourReader({ depth, colourType }: PngHeader, { palette, transparency, background }: Extras): ColourReader {
  const put = (pixels: Uint8Array, at: number, colours: Uint8Array, from: number, alpha: number) => {
    for (let c = 0; c < 3; c++) {
      const colour = colours[from + c]!;
      pixels[at + c] = alpha === 255 ? colour : Math.round((colour * alpha + background * (255 - alpha)) / 255);
    }
  };
  if (colourType === 3) {
    if (palette === undefined) throw new SyntaxError("it has no palette");
    return ([index], pixels, at) => {
      if (3 * index! >= palette.length) {
        throw new SyntaxError(`a pixel has colour ${index}, which is not in its palette`);
      }
      put(pixels, at, palette, 3 * index!, transparency?.[index!] ?? 255);
    };
  }
  const hasAlpha = colourType >= 4;
  const colours = new Uint8Array(3);
  const key = hasAlpha || transparency === undefined
    ? undefined
    : Array.from({ length: transparency.length >> 1 }, (_, i) => sampleAt(transparency, 0, 16, i));
  const toByte = (sample: number) => depth === 8 ? sample : Math.round(255 * sample / (2 ** depth - 1));
  return (samples, pixels, at) => {
    const isGrey = samples.length < 3;
    for (let c = 0; c < 3; c++) colours[c] = toByte(samples[isGrey ? 0 : c]!);
    const isKey = key !== undefined && samples.every((sample, i) => sample === key[i]);
    put(pixels, at, colours, 0, isKey ? 0 : hasAlpha ? toByte(samples.at(-1)!) : 255);
  };
}
