/**
 * Files that are read, and files that are whole or absent: written under another name, then renamed.
 * @module
 */
import { basename, dirname, join, resolve } from "@std/path";
import { OutputError, UsageError } from "./errors.ts";

/**
 * All of a text file.
 *
 * @throws {UsageError} beginning with `label`, when it cannot be read or is not UTF-8.
 */
export function readTextFile(path: string, { folder, label }: { folder: string; label: string }): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Deno.readFileSync(resolve(folder, path)));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const reason = cause instanceof TypeError ? "is not UTF-8 text" : `cannot be read: ${(cause as Error).message}`;
    throw new UsageError(`${label} ${path} ${reason}`, { cause });
  }
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
