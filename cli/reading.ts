/**
 * What is read from files: no more than makes sense, and every failure in words.
 * @module
 */
import { resolve } from "@std/path";
import { UsageError } from "./errors.ts";

/**
 * All bytes of the file at `path`, if they are no more than `most`. What has no end, or nobody may ever write to, such as
 * a device or a pipe, is not opened.
 *
 * @throws {Error} that {@link readingOf} puts into words.
 */
export function readBytes(path: string, most: number): Uint8Array<ArrayBuffer> {
  const { isFile, isDirectory, size } = Deno.statSync(path);
  if (!isFile) throw new TypeError(`it is ${isDirectory ? "a folder" : "not a file"}`);
  if (size > most) throw new RangeError(`it has ${size} bytes; at most ${most} are read`);
  using file = Deno.openSync(path);
  // A byte more than it has: it may have grown, and what the system makes up has no size.
  let bytes = new Uint8Array(Math.max(size, 2 ** 12) + 1);
  for (let length = 0;;) {
    const count = file.readSync(bytes.subarray(length));
    if (count === null) return bytes.subarray(0, length);
    length += count;
    if (length > most) throw new RangeError(`it has more than ${most} bytes, and no more are read`);
    if (length === bytes.length) {
      const longer = new Uint8Array(2 * length);
      longer.set(bytes);
      bytes = longer;
    }
  }
}

/** @throws {UsageError} saying why `what` cannot be read. */
export function readingOf<Result>(what: string, read: () => Result): Result {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable || cause instanceof UsageError) throw cause;
    const { NotFound, NotADirectory, PermissionDenied } = Deno.errors;
    const reason = cause instanceof NotFound || cause instanceof NotADirectory
      ? "there is no such file"
      : cause instanceof PermissionDenied
      ? "this user may not read it"
      : systemWords(cause as Error);
    throw new UsageError(`Cannot read ${what}: ${reason}`, { cause });
  }
}

/** What a system says of a failure, without its number and the call that failed. */
export function systemWords({ message }: Error): string {
  return message.replace(/ \(os error \d+\).*$/s, "");
}

/**
 * The text in UTF-8 `bytes`.
 *
 * @throws {TypeError} when it is something else.
 */
export function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new TypeError("it is not UTF-8 text", { cause });
  }
}

/**
 * All of a text file.
 *
 * @throws {UsageError} when it cannot be read, has more than `most` bytes or is not UTF-8.
 */
export function readTextFile(
  path: string,
  { folder, what, most }: { readonly folder: string; readonly what: string; readonly most: number },
): string {
  return readingOf(`${what} ${path}`, () => decodeText(readBytes(resolve(folder, path), most)));
}
