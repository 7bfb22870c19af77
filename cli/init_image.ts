/**
 * The picture that a request starts from, and its mask.
 * @module
 */
import { createHash } from "node:crypto";
import { resolve } from "@std/path";
import { LIMITS } from "../pipeline/limits.ts";
import type { Image, ImageFile, InitImage } from "../pipeline/request.ts";
import { UsageError } from "./errors.ts";
import { readBytes, readingOf } from "./reading.ts";
import type { OptionValues } from "./options.ts";
import { decodePng } from "./png.ts";

/** How much is made anew when no option says it, as in diffusers. */
const STRENGTH = { image: 0.8, mask: 1 };

/** A side of a picture in pixels: what `--width` takes. */
const SIDE = { least: 64, most: 4096, step: 8 };

/** The pixels of this many files are kept: of an init image and its mask, for many pictures that start from them. */
const KEPT = 2;

interface Reading {
  /** The option that names the file, for messages, where one does. */
  readonly option?: string;
  /** The grey that shows through what is transparent, 0 to 255. */
  readonly background: number;
}

/**
 * Reads PNG files. A file is checked as a whole when it is first asked for, before anything is drawn. Its pixels are
 * then forgotten, and read again when they are needed: all init images of a batch would not fit into memory.
 */
export class ImageFiles {
  readonly #folder: string;
  readonly #images = new Map<string, Image>();
  #kept: readonly { readonly file: ImageFile; readonly pixels: Uint8Array }[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The picture in the file at `path`, the same object while the file does not change.
   *
   * @throws {UsageError} when it is absent, unreadable, too large, damaged or not a PNG. The picture's `pixels` throw it,
   * too, when the file has changed by then.
   */
  read(path: string, reading: Reading): Image {
    return readingOf(describe(path, reading), () => {
      const { size, mtime } = Deno.statSync(resolve(this.#folder, path));
      const key = JSON.stringify([path, size, mtime, reading.background]);
      const image = this.#images.get(key) ?? this.#open(path, reading);
      this.#images.set(key, image);
      return image;
    });
  }

  #open(path: string, reading: Reading): Image {
    const { width, height, pixels, sha256 } = this.#decode(path, reading);
    const file = { path, sha256 };
    const keep = (pixels: Uint8Array) => {
      this.#kept = [{ file, pixels }, ...this.#kept].slice(0, KEPT);
      return pixels;
    };
    const pixelsAgain = () =>
      readingOf(describe(path, reading), () => {
        const again = this.#decode(path, reading);
        if (again.sha256 !== sha256) throw new Error("it has changed since it was checked");
        return keep(again.pixels);
      });
    keep(pixels);
    const find = () => this.#kept.find((kept) => kept.file === file)?.pixels ?? pixelsAgain();
    return {
      width,
      height,
      file,
      get pixels() {
        return find();
      },
    };
  }

  #decode(path: string, { background }: Reading): Image & { readonly sha256: string } {
    const bytes = readBytes(resolve(this.#folder, path), LIMITS.pngBytes);
    return { ...decodePng(bytes, background), sha256: createHash("sha256").update(bytes).digest("hex") };
  }
}

function describe(path: string, { option }: Reading): string {
  return option === undefined ? path : `--${option} ${path}`;
}

type Size = Pick<Image, "width" | "height">;

/**
 * The init image that options name, its mask and strength.
 *
 * @throws {UsageError} when a file cannot be read, or a mask or a strength has no init image.
 */
export function readInit(values: OptionValues, images: ImageFiles): InitImage | undefined {
  const { "init-image": path, mask, strength } = values;
  if (path === undefined) {
    for (const name of ["mask", "strength"] as const) {
      if (values[name] !== undefined) throw new UsageError(`--${name} requires --init-image`);
    }
    return undefined;
  }
  const image = images.read(path, { option: "init-image", background: 255 });
  if (mask === undefined) return { image, strength: strength ?? STRENGTH.image };
  return {
    image,
    mask: images.read(mask, { option: "mask", background: 0 }),
    strength: strength ?? STRENGTH.mask,
  };
}

/**
 * The size of a picture that starts from `image`, or that a ControlNet shapes after it: the sides that are asked for; a
 * missing one follows from the other and the image's shape. Without both the image's own size, shrunk until it is no more
 * than twice the model's.
 */
export function initSize(image: Size, asked: Pick<OptionValues, "width" | "height">, model: Size): Size {
  const { width, height } = asked;
  const scale = width !== undefined
    ? width / image.width
    : height !== undefined
    ? height / image.height
    : Math.min(1, 2 * model.width / image.width, 2 * model.height / image.height);
  return { width: width ?? side(image.width * scale), height: height ?? side(image.height * scale) };
}

function side(pixels: number): number {
  // Rounding may leave a multiple a hair smaller, which must not cost 8 pixels.
  const whole = Math.floor((pixels + 1e-6) / SIDE.step) * SIDE.step;
  return Math.min(SIDE.most, Math.max(SIDE.least, whole));
}
