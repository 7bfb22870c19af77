/**
 * The file system as the readers of models need it: every failure names the file and has an exit code.
 * @module
 */
import { createHash } from "node:crypto";
import { isAbsolute, join, relative, sep } from "@std/path";
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { isObject, type JsonObject, shown } from "./json.ts";
import { LIMITS } from "./limits.ts";
import { otherFormat } from "./pickle.ts";

export function isFile(path: string): boolean {
  return kindOf(path) === "file";
}

/**
 * What lies at `path`, links followed: nothing, where they lead in a circle or no file can have this name.
 * @throws {ModelNotFoundError} this user may not look
 */
export function kindOf(path: string): "file" | "folder" | "other" | "nothing" {
  const { isFile, isDirectory } = found(path, Deno.statSync) ?? {};
  return isFile ? "file" : isDirectory ? "folder" : isFile === undefined ? "nothing" : "other";
}

/** What is in a folder, links as they are; nothing where there is no folder. */
export function entriesIn(folder: string): readonly Deno.DirEntry[] {
  return found(folder, (path) => Array.from(Deno.readDirSync(path))) ?? [];
}

function found<T>(path: string, look: (path: string) => T): T | undefined {
  try {
    return look(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    if (!(cause instanceof Deno.errors.PermissionDenied)) return undefined;
    throw new ModelNotFoundError(`This user may not look at ${path}`, { cause });
  }
}

/** A file that a Hugging Face cache keeps, wherever the cache is. */
const BLOB = /[/\\]models--[^/\\]+[/\\]blobs[/\\](?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/**
 * The path of something in a model's folder. A folder is a stranger's: its links may lead to where the hub's own cache
 * keeps files, and nowhere else out of it.
 * @throws {ModelFileError} it is a link that leads elsewhere
 */
export function inside(folder: string, ...names: readonly string[]): string {
  const path = join(folder, ...names);
  const [root, real] = [folder, path].map((path) => found(path, Deno.realPathSync));
  if (root === undefined || real === undefined || BLOB.test(real)) return path;
  const way = relative(root, real);
  if (way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way)) return path;
  throw new ModelFileError(
    path,
    `this is a link out of the folder ${folder}; such links are followed only into a Hugging Face cache; copy what it leads to`,
  );
}

/**
 * Opens a file for reading.
 * @throws {ModelNotFoundError} there is no file, or this user may not read it
 * @throws {ModelFileError} it is a pipe or a device, which need not end
 */
export function openFile(path: string): Deno.FsFile {
  // Asked first: opening a pipe would wait for its writer.
  const kind = kindOf(path);
  if (kind === "other") throw new ModelFileError(path, "this is a pipe or a device, not a file");
  if (kind !== "file") throw new ModelNotFoundError(`There is no file ${path}`);
  try {
    return Deno.openSync(path);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.PermissionDenied)) throw cause;
    throw new ModelNotFoundError(`This user may not read the file ${path}`, { cause });
  }
}

/** Bytes of a file that are hashed at once. */
const PIECE = 1 << 20;

/**
 * The SHA-256 of a file's bytes.
 * @throws {ModelNotFoundError | ModelFileError} as {@link openFile} does, and where they are too many
 */
export function sha256Of(path: string): string {
  using file = openFile(path);
  const { size } = file.statSync();
  if (size > LIMITS.hashedBytes) {
    throw new ModelFileError(path, `the file has ${size} bytes; at most ${LIMITS.hashedBytes} are hashed`);
  }
  const hash = createHash("sha256");
  const piece = new Uint8Array(PIECE);
  for (let count = file.readSync(piece); count !== null; count = file.readSync(piece)) {
    hash.update(piece.subarray(0, count));
  }
  return hash.digest("hex");
}

/**
 * Size and time of a file, which tell when it is another one.
 * @throws {ModelNotFoundError | ModelFileError} as {@link openFile} does
 */
export function stampOf(path: string): string {
  using file = openFile(path);
  const { size, mtime } = file.statSync();
  return `${size} ${mtime?.getTime()}`;
}

/**
 * Fills `into` with the file's bytes from `offset` on.
 * @throws {ModelFileError} the file has not as many
 */
export function readAt(file: Deno.FsFile, path: string, offset: number, into: Uint8Array<ArrayBuffer>): typeof into {
  file.seekSync(offset, Deno.SeekMode.Start);
  for (let done = 0; done < into.length;) {
    done += file.readSync(into.subarray(done)) ?? failShort(path, into.length - done);
  }
  return into;
}

/** A file that is read at several places at once: a handle has one place, so each of these reads has its own. */
export class SharedFile implements Disposable {
  readonly #path: string;
  readonly #identity: string;
  readonly #all = new DisposableStack();
  readonly #idle: Deno.FsFile[] = [];

  /** `file` is that of `path`, open. */
  constructor(file: Deno.FsFile, path: string) {
    this.#path = path;
    this.#identity = identityOf(file);
  }

  /**
   * {@link readAt} while the program goes on.
   * @throws {ModelFileError} the file has not as many bytes, or another one lies there now
   */
  async readAt(offset: number, into: Uint8Array<ArrayBuffer>): Promise<typeof into> {
    const file = this.#idle.pop() ?? this.#open();
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let done = 0; done < into.length;) {
      done += await file.read(into.subarray(done)) ?? failShort(this.#path, into.length - done);
    }
    this.#idle.push(file);
    return into;
  }

  #open(): Deno.FsFile {
    const file = this.#all.use(openFile(this.#path));
    if (identityOf(file) === this.#identity) return file;
    throw new ModelFileError(this.#path, "another file was put in its place while it was read");
  }

  [Symbol.dispose](): void {
    this.#all.dispose();
  }
}

function identityOf(file: Deno.FsFile): string {
  const { dev, ino } = file.statSync();
  return `${dev} ${ino}`;
}

function failShort(path: string, missing: number): never {
  throw new ModelFileError(path, `the file became shorter while it was read, by this many bytes or more: ${missing}`);
}

/**
 * The text of a UTF-8 file of at most `most` bytes.
 * @throws {ModelNotFoundError} there is no file, or this user may not read it
 * @throws {ModelFileError} the file is longer, or not UTF-8
 */
export function readText(path: string, most: number): string {
  using file = openFile(path);
  const { size } = file.statSync();
  if (size > most) throw new ModelFileError(path, `the file has ${size} bytes; at most ${most} are read`);
  const bytes = readAt(file, path, 0, new Uint8Array(size));
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ModelFileError(path, "the text is not UTF-8", { cause });
  }
}

/**
 * The JSON object in a file, with Python's `Infinity` and `NaN` allowed: diffusers writes
 * `"lambda_min_clipped": -Infinity`.
 * @throws {ModelNotFoundError} there is no file, or this user may not read it
 * @throws {ModelFileError} the file is too long or does not hold a JSON object
 */
export function readJson(path: string): JsonObject {
  const value = parseJson(path, withoutPythonNumbers(readText(path, LIMITS.jsonBytes)));
  if (isObject(value)) return value;
  throw new ModelFileError(path, `the file is ${shown(value)}, not an object`);
}

/**
 * What JSON says.
 * @throws {ModelFileError} `file`, or what of it `what` is, is not JSON; V8's own error would quote it
 */
export function parseJson(file: string, text: string, what = "the file"): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const format = what === "the file" ? otherFormat(text, "JSON") : undefined;
    throw new ModelFileError(file, format ?? `${what} is not JSON`);
  }
}

/** JSON text for Python's: numbers that overflow to infinity, null for NaN, and strings as they are. */
function withoutPythonNumbers(text: string): string {
  let quoted = false;
  // Piece by piece, since a pattern of whole strings searches one that never ends again from each of its quotes.
  return text.replace(/\\.|"|\b(?:Infinity|NaN)\b/gs, (piece) => {
    if (piece === '"') quoted = !quoted;
    return quoted || piece.length < 3 ? piece : piece === "NaN" ? "null" : "1e999";
  });
}
