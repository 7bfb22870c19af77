/**
 * One file from a hub into the cache: whole and right, or not there.
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import { ModelFileError } from "../errors.ts";
import { kindOf } from "../files.ts";
import { INCOMPLETE, storing } from "./cache.ts";
import { fileAddress, type HubFile } from "./listing.ts";
import type { Repository } from "./repository.ts";
import { type Answer, type Hub, PassingError, request, retrying, unlessSilent } from "./request.ts";

/** Bytes after which an attempt that breaks counts as progress. */
const GAIN = 1 << 20;
/** Bytes read at once of what an earlier run has left. */
const CHUNK = 1 << 20;

/** Writes some of `bytes` at the file's position and returns how many. */
export type Write = (file: Deno.FsFile, bytes: Uint8Array) => number;

export interface Download {
  /** At the file's commit. */
  readonly repository: Repository;
  readonly file: HubFile;
  readonly path: string;
  /** Is told how many bytes are there. */
  readonly onSize: (bytes: number) => void;
  /** Default the file's own way. */
  readonly write?: Write | undefined;
}

/**
 * Downloads a file, beginning where an earlier run was cut. What was cut is kept for the next run; what is wrong is not,
 * and is a ModelFileError.
 */
export async function download(hub: Hub, task: Download): Promise<void> {
  const { repository, file, path, onSize, write } = task;
  const address = fileAddress(hub, file.path, repository);
  using partial = new PartialFile(path, file, write);
  onSize(partial.size);
  while (true) {
    const { resumed } = partial;
    await complete(hub, partial, { ...task, address });
    if (partial.finish()) return;
    // Bytes of an earlier run may have been damaged on the disk since.
    if (!resumed) throw new ModelFileError(address, `the content's hash is not ${file.hash}, as the hub lists it`);
    onSize(0);
  }
}

type Source = Pick<Download, "repository" | "file" | "onSize"> & { readonly address: string };

/** Asks for what is missing until nothing is. */
async function complete(hub: Hub, partial: PartialFile, source: Source): Promise<void> {
  let most = partial.size;
  await retrying(
    hub,
    async () => {
      if (partial.size < source.file.size) await fetchRest(hub, partial, source);
    },
    () => {
      const gained = partial.size - most >= GAIN;
      most = Math.max(most, partial.size);
      return gained;
    },
  );
}

function fetchRest(hub: Hub, partial: PartialFile, source: Source): Promise<void> {
  const { address, repository, file, onSize } = source;
  return request(hub, { address, repository, from: partial.size, read: append });

  async function append(answer: Answer): Promise<void> {
    checkBeginning(partial, answer, source);
    for await (const bytes of readBody(hub, answer.response)) {
      const size = partial.size + bytes.length;
      if (size > file.size) throw wrongLength(partial, source, `at least ${size}`);
      partial.append(bytes);
      onSize(size);
    }
    if (partial.size === file.size) return;
    throw new PassingError(`${new URL(address).host} ended ${file.path} after ${partial.size} of ${file.size} bytes`);
  }
}

async function* readBody(hub: Hub, { url, body }: Response): AsyncGenerator<Uint8Array> {
  const reader = body?.getReader();
  while (reader !== undefined) {
    const { value, done } = await unlessSilent(hub, new URL(url).host, reader.read());
    if (done) return;
    yield value;
  }
}

/** Makes sure that what follows is the rest of the file, or drops what is there and takes the file from its beginning. */
function checkBeginning(partial: PartialFile, { response, hash }: Answer, source: Source): void {
  const { address, file } = source;
  const { status, headers } = response;
  if (hash !== undefined && hash.length === file.hash.length && hash !== file.hash) {
    throw new ModelFileError(address, `the hub's list gives it the hash ${file.hash}, and now it has ${hash}`);
  }
  if (status === 206) {
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get("content-range") ?? "") ?? [];
    if (total !== undefined && Number(total) !== file.size) throw wrongLength(partial, source, `${Number(total)}`);
    if (Number(from) === partial.size) return;
  }
  const { size } = partial;
  if (size > 0) partial.restart();
  if (status !== 200) {
    throw new PassingError(`${new URL(address).host} does not send ${file.path} from byte ${size} on`);
  }
  const length = headers.get("content-length");
  if (length !== null && Number(length) !== file.size) throw wrongLength(partial, source, `${Number(length)}`);
}

function wrongLength(partial: PartialFile, { address, file }: Source, bytes: string): ModelFileError {
  partial.restart();
  return new ModelFileError(address, `the hub's list gives it ${file.size} bytes, and it has ${bytes}`);
}

/**
 * An open file on its way into the cache: hashed while it grows, renamed when it is whole. Disposing of it closes it
 * and leaves it for the next run.
 */
class PartialFile implements Disposable {
  size = 0;
  /** Whether bytes of an earlier run are among them. */
  resumed = false;
  readonly #file: Deno.FsFile;
  #hash: Hash;

  /** Opens what an earlier run has left of the file that `path` will be, or begins it. */
  constructor(
    readonly path: string,
    readonly expected: HubFile,
    readonly write: Write = (file, bytes) => file.writeSync(bytes),
  ) {
    this.#hash = beginHash(expected);
    this.#file = storing(path, () => Deno.openSync(path + INCOMPLETE, { read: true, write: true, create: true }));
    const chunk = new Uint8Array(CHUNK);
    for (let count; (count = this.#file.readSync(chunk)) !== null;) {
      this.#hash.update(chunk.subarray(0, count));
      this.size += count;
    }
    this.resumed = this.size > 0;
  }

  append(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0;) {
      const count = storing(this.path, () => this.write(this.#file, rest));
      this.#hash.update(rest.subarray(0, count));
      this.size += count;
      rest = rest.subarray(count);
    }
  }

  restart(): void {
    storing(this.path, () => this.#file.truncateSync(0));
    this.#file.seekSync(0, Deno.SeekMode.Start);
    this.#hash = beginHash(this.expected);
    this.size = 0;
    this.resumed = false;
  }

  /** Puts the file in its place if its hash is the right one; otherwise drops what is there and returns false. */
  finish(): boolean {
    if (this.#hash.copy().digest("hex") !== this.expected.hash) {
      this.restart();
      return false;
    }
    storing(this.path, () => {
      this.#file.syncSync();
      Deno.renameSync(this.path + INCOMPLETE, this.path);
    });
    return true;
  }

  /** Closes the file; one without a byte is removed. */
  [Symbol.dispose](): void {
    this.#file.close();
    if (this.size === 0 && kindOf(this.path + INCOMPLETE) === "file") Deno.removeSync(this.path + INCOMPLETE);
  }
}

/** SHA-256, or the name that Git gives to a file's content. */
function beginHash({ hash, size }: HubFile): Hash {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}
