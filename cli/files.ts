/**
 * Files that are whole or absent: written under another name, then renamed or linked.
 * @module
 */
import { basename, dirname, join, resolve } from "@std/path";
import { OutputError, UsageError } from "./errors.ts";
import { systemWords } from "./reading.ts";

/** Ends the name of a file that is being written. */
const PARTIAL = ".denoise.partial";

/** Bytes of a name that every file system in use takes. */
const LONGEST_NAME = 255;

/** Links that lead to each other, of which a system follows no more. */
const MOST_LINKS = 40;

/** Why a file is not replaced. */
export const KEPT = "it is there already, and --no-clobber keeps it";

/**
 * Makes sure, before the work starts, that files can be written, and removes what killed processes left half written
 * beside them. Each folder is tried once.
 */
export class Places {
  readonly #folders = new Map<string, Error | undefined>();

  /**
   * @throws {OutputError} when the folder is absent or read-only, or something other than a file is at `path`.
   * @throws {UsageError} when a file is there, and `keeps` is true.
   */
  check(path: string, keeps = false): void {
    explained(path, () => {
      const { length } = new TextEncoder().encode(basename(path));
      if (length > LONGEST_NAME) throw new Error(`its name has ${length} bytes; at most ${LONGEST_NAME} are possible`);
      const destination = destinationOf(path);
      this.#tryFolder(dirname(destination));
      const info = infoOf(destination);
      if (info?.isDirectory) throw new Error("it is a folder");
      if (info !== undefined && !info.isFile) throw new Error("it is not a file");
      if (info !== undefined && keeps) throw new UsageError(`Cannot write ${path}: ${KEPT}`);
    });
  }

  /** @throws {OutputError} when a new file cannot be written where `path` is. */
  checkFolder(path: string): void {
    explained(path, () => this.#tryFolder(dirname(path)));
  }

  #tryFolder(folder: string): void {
    if (!this.#folders.has(folder)) this.#folders.set(folder, failureOf(folder));
    const failure = this.#folders.get(folder);
    if (failure !== undefined) throw failure;
  }
}

/** Why no file can be written in a folder. */
function failureOf(folder: string): Error | undefined {
  try {
    sweep(folder);
    withPartial(folder, new Uint8Array(), () => {});
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/**
 * Writes `bytes` to `path`, replacing a file that is there; a link is followed.
 *
 * @throws {OutputError} when the file cannot be written; `path` is then as it was.
 */
export function writeWhole(path: string, bytes: Uint8Array): void {
  explained(path, () => {
    const destination = destinationOf(path);
    withPartial(dirname(destination), bytes, (partial) => Deno.renameSync(partial, destination));
  });
}

/**
 * Writes `bytes` to the first of `names` in `folder` that nothing has. The name is taken in one step with the whole file
 * under it, so no other process ever gets the same one, or sees half of it.
 *
 * @returns that name; undefined when all are taken.
 * @throws {OutputError} when the file cannot be written.
 */
export function writeNew(folder: string, names: Iterable<string>, bytes: Uint8Array): string | undefined {
  let last = folder;
  return explained(() => last, () => {
    for (const name of names) {
      last = resolve(folder, name);
      if (exists(last)) continue;
      const parent = dirname(last);
      if (withPartial(parent, bytes, (partial) => takeName(partial, last))) return name;
    }
    return undefined;
  });
}

/** Whether `path` was free, and is now the file at `partial`. */
function takeName(partial: string, path: string): boolean {
  try {
    Deno.linkSync(partial, path);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    if (error instanceof Deno.errors.NotCapable) throw error;
    // A file system without links, such as FAT: an empty file holds the name for the moment in between.
    try {
      Deno.openSync(path, { createNew: true, write: true }).close();
    } catch (taken) {
      if (taken instanceof Deno.errors.AlreadyExists) return false;
      throw taken;
    }
    Deno.renameSync(partial, path);
  }
  return true;
}

/** Whether anything is at `path`, even a link to nowhere. */
export function exists(path: string): boolean {
  return infoOf(path, Deno.lstatSync) !== undefined;
}

/** What is at `path`, links followed; undefined when nothing is. */
export function infoOf(path: string, read: (path: string) => Deno.FileInfo = Deno.statSync): Deno.FileInfo | undefined {
  try {
    return read(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    // Absent, or out of reach: writing there says why.
    return undefined;
  }
}

/** The file that a write to `path` changes: where its link leads, even if nothing is there yet. */
export function destinationOf(path: string): string {
  let destination = path;
  for (let links = 0; links <= MOST_LINKS; links++) {
    if (!exists(destination) || !Deno.lstatSync(destination).isSymlink) return destination;
    destination = resolve(Deno.realPathSync(dirname(destination)), Deno.readLinkSync(destination));
  }
  throw new Error("its links lead in a circle");
}

/** Writes `bytes` to a file of its own and hands it to `publish`, which moves it; whatever is left of it is removed. */
function withPartial<Result>(folder: string, bytes: Uint8Array, publish: (partial: string) => Result): Result {
  const { file, partial } = openPartial(folder);
  // It is closed last: what is not locked may be swept.
  using _open = file;
  try {
    let rest = bytes;
    while (rest.length > 0) rest = rest.subarray(file.writeSync(rest));
    file.syncDataSync();
    return publish(partial);
  } finally {
    if (exists(partial)) Deno.removeSync(partial);
  }
}

/**
 * The lock tells {@link sweep} that the writer lives; it goes with the process. A sweep in another process may lock the
 * file first: then it is gone when the lock is here. The name is short, so that the longest possible one beside it can be
 * written.
 */
function openPartial(folder: string): { file: Deno.FsFile; partial: string } {
  for (;;) {
    const partial = join(folder, `.${crypto.randomUUID().slice(0, 8)}${PARTIAL}`);
    const file = Deno.openSync(partial, { createNew: true, write: true });
    file.lockSync(true);
    if (exists(partial)) return { file, partial };
    file.close();
  }
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

/** @throws {OutputError} saying why `path` cannot be written. */
function explained<Result>(path: string | (() => string), act: () => Result): Result {
  try {
    return act();
  } catch (cause) {
    if (cause instanceof UsageError || cause instanceof OutputError) throw cause;
    const at = typeof path === "string" ? path : path();
    throw new OutputError(`Cannot write ${at}: ${reasonOf(cause as Error, at)}`, { cause });
  }
}

function reasonOf(cause: Error, path: string): string {
  const { NotFound, NotADirectory, PermissionDenied } = Deno.errors;
  if (cause instanceof PermissionDenied) return "this user may not write there";
  if (!(cause instanceof NotFound || cause instanceof NotADirectory)) return systemWords(cause);
  // The first folder on the way that is none.
  const folder = dirname(exists(path) ? destinationOf(path) : path);
  const info = infoOf(folder);
  if (info === undefined) return `there is no folder ${folder}`;
  return info.isDirectory ? `the folder ${folder} takes no files` : `${folder} is not a folder`;
}
