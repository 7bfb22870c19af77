/**
 * Files that are read, and files that are whole or absent: written under another name, then renamed.
 * @module
 */
import { basename, dirname, join, resolve } from "@std/path";
import { OutputError, UsageError } from "./errors.ts";

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

/** Ends the name of a file that is being written. */
const PARTIAL = ".denoise.partial";

/**
 * Makes sure, before the work starts, that a file can be written to `path`, and removes what a killed process left
 * half written beside it.
 *
 * @throws {OutputError} when the folder is absent or read-only, or something other than a file is at `path`.
 */
export function checkWritable(path: string): void {
  explained(path, () => {
    sweep(dirname(path));
    if (exists(path) && !Deno.statSync(path).isFile) {
      throw new OutputError(`Cannot write ${path}: it is not a file`);
    }
    const { file, partial } = openPartial(path);
    file.close();
    Deno.removeSync(partial);
  });
}

/**
 * Writes `bytes` to `path`, replacing a file that is there.
 *
 * @throws {OutputError} when the file cannot be written; `path` is then as it was.
 */
export function writeWhole(path: string, bytes: Uint8Array): void {
  explained(path, () => {
    const { file, partial } = openPartial(path);
    try {
      using open = file;
      let rest = bytes;
      while (rest.length > 0) rest = rest.subarray(open.writeSync(rest));
      open.syncDataSync();
      Deno.renameSync(partial, path);
    } catch (error) {
      Deno.removeSync(partial);
      throw error;
    }
  });
}

/** Whether anything is at `path`, even a link to nowhere. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The lock tells {@link sweep} that the writer lives; it goes with the process. */
function openPartial(path: string): { file: Deno.FsFile; partial: string } {
  const partial = join(dirname(path), `.${basename(path)}.${crypto.randomUUID().slice(0, 8)}${PARTIAL}`);
  const file = Deno.openSync(partial, { createNew: true, write: true });
  file.lockSync(true);
  return { file, partial };
}

function sweep(folder: string): void {
  for (const { name, isFile } of Deno.readDirSync(folder)) {
    if (!isFile || !name.endsWith(PARTIAL)) continue;
    const partial = join(folder, name);
    try {
      using file = Deno.openSync(partial, { write: true });
      if (file.tryLockSync(true)) Deno.removeSync(partial);
    } catch (error) {
      // It is gone by now, or another user's.
      const { NotFound, PermissionDenied } = Deno.errors;
      if (!(error instanceof NotFound || error instanceof PermissionDenied)) throw error;
    }
  }
}

function explained(path: string, act: () => void): void {
  try {
    act();
  } catch (cause) {
    if (cause instanceof OutputError) throw cause;
    const absent = cause instanceof Deno.errors.NotFound;
    const reason = absent ? `there is no folder ${dirname(path)}` : (cause as Error).message;
    throw new OutputError(`Cannot write ${path}: ${reason}`, { cause });
  }
}
