/**
 * PNG files that a picture is made from.
 * @module
 */
import { createHash } from "node:crypto";
import { resolve } from "@std/path";
import type { Image } from "../pipeline/request.ts";
import { UsageError } from "./errors.ts";
import { decodePng } from "./png.ts";

/** Files longer than this are not read. */
const MOST_BYTES = 2 ** 28;

/** Images that are kept: an init image and its mask, for many pictures that start from them. */
const KEPT = 2;

/** How a file is read. */
export interface ReadingOptions {
  /** The option that names it, for messages. */
  readonly option: string;
  /** The grey that shows through what is transparent, 0 to 255. */
  readonly background: number;
}

interface Kept {
  readonly key: string;
  readonly image: Image;
}

/** Reads PNG files. Those read last are kept: a file that did not change is the same object again. */
export class ImageFiles {
  readonly #folder: string;
  #kept: readonly Kept[] = [];

  /** Reads paths from `folder` on. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The picture in the file at `path`.
   *
   * @throws {UsageError} when it is absent, unreadable, too large, damaged or no PNG.
   */
  read(path: string, { option, background }: ReadingOptions): Image {
    try {
      const whole = resolve(this.#folder, path);
      const { size, mtime } = Deno.statSync(whole);
      const key = JSON.stringify([whole, size, mtime, background]);
      const known = this.#kept.find((kept) => kept.key === key);
      if (known) return known.image;
      if (size > MOST_BYTES) throw new RangeError(`it has ${size} bytes, more than the ${MOST_BYTES} that are read`);
      const bytes = Deno.readFileSync(whole);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const image = { ...decodePng(bytes, background), file: { path, sha256 } };
      this.#kept = [{ key, image }, ...this.#kept].slice(0, KEPT);
      return image;
    } catch (cause) {
      if (cause instanceof Deno.errors.NotCapable) throw cause;
      const problem = cause instanceof Deno.errors.NotFound ? "there is no such file" : (cause as Error).message;
      throw new UsageError(`Cannot read --${option} ${path}: ${problem}`, { cause });
    }
  }
}
