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

/**
 * The pixels of a PNG file, without their transparency.
 *
 * @throws {Error} when it is damaged or no PNG file.
 */
export function decodePng(bytes: Uint8Array): Image {
  const { width, height, data } = PNG.sync.read(Buffer.from(bytes));
  const pixels = new Uint8Array(width * height * 3).map((_, index) => data[Math.floor(index / 3) * 4 + index % 3]!);
  return { width, height, pixels };
}
