/**
 * The header of a safetensors file, read strictly: what it says is used whole or not at all.
 * Format: https://github.com/huggingface/safetensors#format
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { isObject, type JsonObject, shown } from "./json.ts";
import { repeatedKey } from "./repeated_key.ts";
import { type Entry, parseEntry } from "./safetensors_entry.ts";

/** What a header says. */
export interface Header {
  /** Its tensors, in the order of their bytes. */
  readonly entries: readonly Entry[];
  /** Free text by key. */
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Reads a header.
 * @param file the file that errors name
 * @param header the bytes between the header's length and the data
 * @param dataBytes how many bytes follow the header
 * @throws {ModelFileError} the header is not valid, or does not describe exactly `dataBytes` bytes
 */
export function parseHeader(file: string, header: Uint8Array, dataBytes: number): Header {
  const { __metadata__: texts, ...tensors } = parseObject(file, header);
  const metadata = parseMetadata(file, texts);
  const entries = Object.entries(tensors)
    .map(([name, value]) => parseEntry(file, name, value))
    // A tensor of no bytes lies before the one that begins at the same place.
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(file, entries, dataBytes);
  return { entries, metadata };
}

function parseObject(file: string, header: Uint8Array): JsonObject {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(header);
  } catch (cause) {
    throw new ModelFileError(file, "the header is not UTF-8", { cause });
  }
  if (text.startsWith("\uFEFF")) {
    throw new ModelFileError(file, "the header starts with a byte order mark");
  }
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ModelFileError(file, "the header is not JSON", { cause });
  }
  if (!isObject(value)) {
    throw new ModelFileError(file, `the header is ${shown(value)}, not an object`);
  }
  const key = repeatedKey(text);
  if (key === undefined) return value;
  throw new ModelFileError(file, `the header has the key ${shown(key)} twice`);
}

function parseMetadata(file: string, metadata: unknown = {}): ReadonlyMap<string, string> {
  if (!isObject(metadata)) {
    throw new ModelFileError(file, `__metadata__ is ${shown(metadata)}, not an object`);
  }
  return new Map(
    Object.entries(metadata).map(([key, value]) => {
      if (typeof value === "string") return [key, value];
      throw new ModelFileError(file, `__metadata__ has ${shown(value)} as ${shown(key)}, not a string`);
    }),
  );
}

/** Every byte belongs to exactly one tensor. */
function checkLayout(file: string, entries: readonly Entry[], dataBytes: number): void {
  let previous: Entry | undefined;
  for (const entry of entries) {
    const end = previous?.end ?? 0;
    if (entry.begin < end) {
      throw new ModelFileError(
        file,
        `tensors ${shown(previous!.name)} and ${shown(entry.name)} overlap in bytes ${entry.begin} to ${end}`,
      );
    }
    if (entry.begin > end) {
      throw new ModelFileError(
        file,
        `${entry.begin - end} bytes before tensor ${shown(entry.name)} belong to no tensor`,
      );
    }
    previous = entry;
  }
  const end = previous?.end ?? 0;
  if (end > dataBytes) {
    throw new ModelFileError(file, `${end - dataBytes} of ${end} bytes of data are missing, as after half a download`);
  }
  if (end < dataBytes) {
    throw new ModelFileError(file, `${dataBytes - end} bytes follow the last tensor`);
  }
}
