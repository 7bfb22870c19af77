/**
 * The picture that golden runs with one start from, and the mask of those that inpaint.
 * @module
 */
import type { Image, InitImage } from "../../pipeline/request.ts";

/** What a case says of its start. */
export interface InitCase {
  readonly kind: "txt2img" | "img2img" | "inpaint";
  readonly width: number;
  readonly height: number;
  readonly strength?: number;
}

/** Undefined for a run from noise. */
export function goldenInit({ kind, width, height, strength = 1 }: InitCase): InitImage | undefined {
  if (kind === "txt2img") return undefined;
  const picture = (colour: (x: number, y: number) => readonly number[]): Image => ({
    width,
    height,
    pixels: Uint8Array.from(
      Array.from({ length: width * height }, (_, i) => colour(i % width, Math.floor(i / width))).flat(),
    ),
  });
  const image = picture((x, y) => [
    Math.floor(255 * x / (width - 1)),
    Math.floor(255 * y / (height - 1)),
    255 * ((Math.floor(x / 8) + Math.floor(y / 8)) % 2),
  ]);
  const mask = picture((x, y) => Array(3).fill(y < height / 2 && x >= width / 4 ? 255 : 0));
  return { image, strength, ...(kind === "inpaint" && { mask }) };
}
