/**
 * Pictures as PNG files.
 * @module
 */
import { PNG } from "pngjs";
import { Buffer } from "node:buffer";
import type { Image } from "../pipeline/request.ts";

/** The PNG file of a picture: 8-bit RGB; the same bytes for the same pixels. */
export function encodePng({ width, height, pixels }: Image): Uint8Array<ArrayBuffer> {
  const colours = { colorType: 2, inputColorType: 2, inputHasAlpha: false } as const;
  const png = new PNG({ width, height, ...colours });
  png.data = Buffer.from(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  return new Uint8Array(PNG.sync.write(png, colours));
}

/** The most pixels that are read: 256 MiB of them, and as much again while they are read. */
const MOST_PIXELS = 2 ** 26;

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** What a file that is no PNG begins with. */
const OTHERS = [["JPEG", "\xff\xd8\xff"], ["GIF", "GIF8"], ["WebP", "RIFF"], ["BMP", "BM"]] as const;

/**
 * The pixels of a PNG file of any colour type and depth, in 8 bits, transparency laid over `background` grey.
 *
 * @throws {SyntaxError} when it is damaged or no PNG file.
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

function checkHeader(bytes: Uint8Array): void {
  if (!SIGNATURE.every((byte, i) => bytes[i] === byte)) {
    const start = String.fromCharCode(...bytes.subarray(0, 4));
    const other = OTHERS.find(([_kind, signature]) => start.startsWith(signature));
    throw new SyntaxError(other ? `it is a ${other[0]}, and only PNG is read` : "it is no PNG");
  }
  if (bytes.length < 33) throw new SyntaxError("it is a damaged PNG: it ends in its header");
  const header = new DataView(bytes.buffer, bytes.byteOffset);
  const [width, height] = [header.getUint32(16), header.getUint32(20)];
  if (width * height > MOST_PIXELS) {
    throw new RangeError(`it has ${width}x${height} pixels, more than the ${MOST_PIXELS} that are read`);
  }
}

function readPng(bytes: Uint8Array): PNG {
  try {
    return PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (cause) {
    throw new SyntaxError(`it is a damaged PNG: ${(cause as Error).message}`, { cause });
  }
}
