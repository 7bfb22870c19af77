/**
 * Many pictures on one.
 * @module
 */
import type { Image } from "../pipeline/request.ts";
import { UsageError } from "./errors.ts";

/** Pixels around each picture. */
const MARGIN = 8;
const WHITE = 255;
/** A sheet of 400 MB before it is compressed. */
const MOST_PIXELS = 2 ** 27;

type Size = Pick<Image, "width" | "height">;

/** Pictures of the least size, of which a sheet holds no more. */
const MOST_PICTURES = Math.floor(MOST_PIXELS / (64 + MARGIN) ** 2);

/** @throws {UsageError} when no sheet holds so many pictures, however small. */
export function checkCount(pictures: number): void {
  if (pictures <= MOST_PICTURES) return;
  throw new UsageError(
    `--grid: a contact sheet holds at most ${MOST_PICTURES} pictures, and the run makes ${pictures}`,
  );
}

/** @throws {UsageError} when a sheet of pictures of these sizes would have more than 2^27 pixels. */
export function checkSheet(sizes: readonly Size[]): void {
  const { width, height } = layOut(sizes);
  if (width * height <= MOST_PIXELS) return;
  const sheet = `a contact sheet of ${sizes.length} pictures would have ${width}x${height} pixels`;
  throw new UsageError(`--grid: ${sheet}; at most ${MOST_PIXELS} are possible`);
}

/** The pictures row by row on white, none of them scaled; smaller ones stand in the top left of their cells. */
export function composeSheet(images: readonly Image[]): Image {
  const { columns, width, height, cellWidth, cellHeight } = layOut(images);
  const pixels = new Uint8Array(width * height * 3).fill(WHITE);
  for (const [index, image] of images.entries()) {
    const left = MARGIN + (index % columns) * (cellWidth + MARGIN);
    const top = MARGIN + Math.floor(index / columns) * (cellHeight + MARGIN);
    for (let y = 0; y < image.height; y++) {
      const row = image.pixels.subarray(y * image.width * 3, (y + 1) * image.width * 3);
      pixels.set(row, ((top + y) * width + left) * 3);
    }
  }
  return { width, height, pixels };
}

/** The size of the sheet and of its cells; about as many rows as columns. */
function layOut(sizes: readonly Size[]) {
  const columns = Math.ceil(Math.sqrt(sizes.length));
  const rows = Math.ceil(sizes.length / columns);
  const cellWidth = sizes.reduce((most, { width }) => Math.max(most, width), 0);
  const cellHeight = sizes.reduce((most, { height }) => Math.max(most, height), 0);
  const side = (count: number, cell: number) => count * (cell + MARGIN) + MARGIN;
  return { columns, width: side(columns, cellWidth), height: side(rows, cellHeight), cellWidth, cellHeight };
}
