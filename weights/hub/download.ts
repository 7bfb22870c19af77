/**
 * One file from a hub into the cache: whole and right, or not there.
 * @module
 */
import { ModelFileError } from "../errors.ts";
import type { Hub } from "./hub.ts";
import type { HubFile } from "./listing.ts";
import { PartialFile, type Write } from "./partial_file.ts";
import { type Answer, request, unlessSilent } from "./request.ts";
import { PassingError, retrying } from "./retry.ts";

/** Bytes after which an attempt that breaks counts as one that got on. */
const GAIN = 1 << 20;

/** What is downloaded to where. */
export interface Download {
  /** The address of its content. */
  readonly address: string;
  /** What it must be. */
  readonly file: HubFile;
  /** Where it goes. */
  readonly path: string;
  /** The error for a status that will not pass. */
  readonly refuse: (response: Response) => Error;
  /** Is told how many bytes are there. */
  readonly onSize: (bytes: number) => void;
  /** Writes to the file; default the file's own way. */
  readonly write?: Write | undefined;
}

/**
 * Downloads a file, beginning where an earlier run was cut. What was cut is kept for the next run, what is wrong is not.
 * @throws {ModelNotFoundError} the hub cannot be reached, or refuses
 * @throws {ModelFileError} the file is not what the hub's list says
 * @throws {CacheError} it cannot be written
 */
export async function download(hub: Hub, { file, path, write, ...source }: Download): Promise<void> {
  using partial = new PartialFile(path, file, write);
  source.onSize(partial.size);
  while (true) {
    const { resumed } = partial;
    await complete(hub, partial, { file, ...source });
    if (partial.finish()) return;
    // Bytes of an earlier run may have been damaged on the disk since.
    if (!resumed) {
      throw new ModelFileError(source.address, `the content's hash is not ${file.hash}, as the hub lists it`);
    }
    source.onSize(0);
  }
}

type Source = Omit<Download, "path" | "write">;

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
  const { address, file, refuse, onSize } = source;
  return request(hub, { address, from: partial.size, refuse, read: append });

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

/** Makes sure that what follows is the rest of the file, or drops what is there and takes it from its beginning. */
function checkBeginning(partial: PartialFile, { response, hash }: Answer, source: Source): void {
  const { address, file } = source;
  const { status, headers } = response;
  const { host } = new URL(address);
  if (hash !== undefined && hash.length === file.hash.length && hash !== file.hash) {
    throw new ModelFileError(address, `the hub's list gives it the hash ${file.hash}, and now it has ${hash}`);
  }
  if (status === 206) {
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get("content-range") ?? "") ?? [];
    if (total !== undefined && Number(total) !== file.size) throw wrongLength(partial, source, total);
    if (Number(from) === partial.size) return;
  }
  const { size } = partial;
  if (size > 0) partial.restart();
  if (status !== 200) throw new PassingError(`${host} does not send ${file.path} from byte ${size} on`);
  const length = headers.get("content-length");
  if (length !== null && Number(length) !== file.size) throw wrongLength(partial, source, length);
}

function wrongLength(partial: PartialFile, { address, file }: Source, bytes: string): ModelFileError {
  partial.restart();
  return new ModelFileError(address, `the hub's list gives it ${file.size} bytes, and it has ${bytes}`);
}
