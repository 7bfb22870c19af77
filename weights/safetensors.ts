/**
 * Opens safetensors files. Only the header is held; tensors are read from the open file one at a time.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { openFile, readAt, SharedFile } from "./files.ts";
import { shown } from "./json.ts";
import { LIMITS } from "./limits.ts";
import { otherFormat } from "./pickle.ts";
import { type Entry, type Header, parseHeader } from "./safetensors_header.ts";
import {
  BYTES_PER_ELEMENT,
  type DType,
  lookUp,
  type ReadOptions,
  readTarget,
  type TensorInfo,
  type TensorSource,
} from "./tensor_source.ts";

/** How {@link openSafetensors} treats single tensors. */
export interface SafetensorsOptions {
  /** Names of tensors to leave out; only such a tensor may have an unsupported type. */
  readonly ignore?: (name: string) => boolean;
}

export interface SafetensorsSource extends TensorSource {
  /** Names of the tensors that were left out. */
  readonly ignored: readonly string[];
  /** Free text by key. */
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Opens a safetensors file, which stays open until the source is disposed of.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is not a whole and valid safetensors file of F16, BF16 and F32 tensors
 */
export function openSafetensors(path: string, options: SafetensorsOptions = {}): SafetensorsSource {
  const { ignore = () => false } = options;
  using stack = new DisposableStack();
  const file = stack.use(openFile(path));
  const { data, entries, metadata } = readStart(file, path);
  const tensors = new Map(
    entries.filter(({ name }) => !ignore(name)).map((entry) => [entry.name, usable(path, entry)]),
  );
  const target = (name: string, options?: ReadOptions) => {
    const tensor = lookUp(path, tensors, name);
    const { begin, into } = readTarget(tensor, options);
    return { offset: data + tensor.begin + begin, into };
  };
  const shared = stack.use(new SharedFile(file, path));
  const opened = stack.move();
  return {
    label: path,
    tensors,
    ignored: entries.flatMap(({ name }) => tensors.has(name) ? [] : [name]),
    metadata,
    read(name, options) {
      const { offset, into } = target(name, options);
      return readAt(file, path, offset, into);
    },
    async readAsync(name, options) {
      const { offset, into } = target(name, options);
      return await shared.readAt(offset, into);
    },
    [Symbol.dispose]: () => opened.dispose(),
  };
}

/**
 * The header of a safetensors file, whose tensors may be of any type; nothing else of it is read.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is not a whole and valid safetensors file
 */
export function readHeader(path: string): Header {
  using file = openFile(path);
  return readStart(file, path);
}

/** The header, and the first byte behind it. */
function readStart(file: Deno.FsFile, path: string): Header & { readonly data: number } {
  const { size } = file.statSync();
  const headerBytes = readHeaderBytes(file, path, size);
  const data = 8 + headerBytes;
  const header = readAt(file, path, 8, new Uint8Array(headerBytes));
  return { data, ...parseHeader(path, header, size - data) };
}

/** The header's length, from the first 8 bytes, if it is believable. */
function readHeaderBytes(file: Deno.FsFile, path: string, size: number): number {
  function fail(problem: string): never {
    throw new ModelFileError(path, problem);
  }
  if (size === 0) fail("the file is empty");
  if (size < 8) fail(`the file has only ${size} bytes, not even the 8 of the header's length`);
  const length = readAt(file, path, 0, new Uint8Array(8));
  const bytes = Number(new DataView(length.buffer).getBigUint64(0, true));
  if (bytes === 0) fail("the header is empty");
  if (bytes > LIMITS.headerBytes) {
    const start = String.fromCharCode(...readAt(file, path, 0, new Uint8Array(Math.min(size, 64))));
    const much = `the header claims ${bytes} bytes, more than ${LIMITS.headerBytes}`;
    fail(otherFormat(start, "a safetensors file") ?? `${much}; it is probably not a safetensors file`);
  }
  if (bytes > size - 8) {
    fail(`${bytes + 8 - size} of ${bytes} bytes of the header are missing; the download may be incomplete`);
  }
  return bytes;
}

/** A tensor of a type that can be used, and its first byte, counted from the end of the header. */
function usable(path: string, entry: Entry): TensorInfo & Pick<Entry, "begin"> {
  const { name, dtype, shape, begin, end } = entry;
  if (Object.hasOwn(BYTES_PER_ELEMENT, dtype)) {
    return { name, dtype: dtype as DType, shape, bytes: end - begin, begin };
  }
  throw new ModelFileError(
    path,
    `tensor ${shown(name)} is stored as ${dtype}, which is not supported: convert it to F16, BF16 or F32`,
  );
}
