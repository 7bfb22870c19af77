/**
 * Files of text that options and arguments name.
 * @module
 */
import { resolve } from "@std/path";
import { UsageError } from "./errors.ts";

/** Where a file lies, and what it is called in an error. */
export interface TextFileOptions {
  /** The folder in which a relative path begins. */
  readonly folder: string;
  /** What comes before the path in an error. */
  readonly label: string;
}

/**
 * All of a file.
 *
 * @throws {UsageError} when it cannot be read or is not UTF-8.
 */
export function readTextFile(path: string, { folder, label }: TextFileOptions): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Deno.readFileSync(resolve(folder, path)));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const reason = cause instanceof TypeError ? "is not UTF-8 text" : `cannot be read: ${(cause as Error).message}`;
    throw new UsageError(`${label} ${path} ${reason}`, { cause });
  }
}
