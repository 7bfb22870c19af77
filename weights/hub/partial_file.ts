/**
 * A file on its way into the cache: hashed while it grows, kept when it is cut, renamed when it is whole.
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import { CacheError } from "../errors.ts";
import { kindOf } from "../files.ts";
import type { HubFile } from "./listing.ts";

/** Ends the names of what is not yet whole. */
export const INCOMPLETE = ".incomplete";

/** Writes some of `bytes` at the file's position and returns how many. */
export type Write = (file: Deno.FsFile, bytes: Uint8Array) => number;

/** Bytes read at once of what an earlier run has left. */
const CHUNK = 1 << 20;

/** An open file that grows; disposing of it closes it and leaves it for the next run. */
export class PartialFile implements Disposable {
  /** How many bytes are there. */
  size = 0;
  /** Whether bytes of an earlier run are among them. */
  resumed = false;
  readonly #path: string;
  readonly #expected: HubFile;
  readonly #write: Write;
  readonly #file: Deno.FsFile;
  #hash: Hash;

  /**
   * Opens what an earlier run has left of a file, or begins it.
   * @param path where the file will be when it is whole
   * @throws {CacheError} it cannot be opened for writing
   */
  constructor(path: string, expected: HubFile, write: Write = (file, bytes) => file.writeSync(bytes)) {
    this.#path = path;
    this.#expected = expected;
    this.#write = write;
    this.#hash = beginHash(expected);
    this.#file = storing(path, () => Deno.openSync(path + INCOMPLETE, { read: true, write: true, create: true }));
    const chunk = new Uint8Array(CHUNK);
    for (let count; (count = this.#file.readSync(chunk)) !== null;) {
      this.#hash.update(chunk.subarray(0, count));
      this.size += count;
    }
    this.resumed = this.size > 0;
  }

  /**
   * Adds bytes at the end.
   * @throws {CacheError} they cannot be written, as when the disk is full
   */
  append(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0;) {
      const count = storing(this.#path, () => this.#write(this.#file, rest));
      this.#hash.update(rest.subarray(0, count));
      this.size += count;
      rest = rest.subarray(count);
    }
  }

  /** Drops what is there. */
  restart(): void {
    storing(this.#path, () => this.#file.truncateSync(0));
    this.#file.seekSync(0, Deno.SeekMode.Start);
    this.#hash = beginHash(this.#expected);
    this.size = 0;
    this.resumed = false;
  }

  /** Puts the file in its place if its hash is the right one; otherwise drops what is there and returns false. */
  finish(): boolean {
    if (this.#hash.copy().digest("hex") !== this.#expected.hash) {
      this.restart();
      return false;
    }
    storing(this.#path, () => {
      this.#file.syncSync();
      Deno.renameSync(this.#path + INCOMPLETE, this.#path);
    });
    return true;
  }

  /** Closes the file; one without a byte is removed. */
  [Symbol.dispose](): void {
    this.#file.close();
    if (this.size === 0 && kindOf(this.#path + INCOMPLETE) === "file") Deno.removeSync(this.#path + INCOMPLETE);
  }
}

/**
 * What `act` returns, which writes `path`.
 * @throws {CacheError} the system does not let it
 */
export function storing<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw new CacheError(path, cause);
  }
}

/** SHA-256, or the name that Git gives to a file's content. */
function beginHash({ hash, size }: HubFile): Hash {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}
