/**
 * The header of a safetensors file, read strictly: what it says is used whole or not at all.
 * Format: https://github.com/huggingface/safetensors#format
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { parseJson } from "./files.ts";
import { isObject, type JsonObject, shown } from "./json.ts";
import { LIMITS } from "./limits.ts";

/** A tensor as its header states it, of any type that the format knows. */
export interface Entry {
  readonly name: string;
  /** The element type as the file spells it. */
  readonly dtype: string;
  /** Dimensions, outermost first. */
  readonly shape: readonly number[];
  /** The tensor's first byte, counted from the end of the header. */
  readonly begin: number;
  /** The byte after its last one. */
  readonly end: number;
}

export interface Header {
  /** Its tensors, in the order of their bytes. */
  readonly entries: readonly Entry[];
  /** Free text by key. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** Every type of the format, by the bits of an element; most are known only to be refused by name. */
const DTYPES: Readonly<Record<number, string>> = {
  4: "F4",
  6: "F6_E2M3 F6_E3M2",
  8: "BOOL U8 I8 F8_E4M3 F8_E4M3FNUZ F8_E5M2 F8_E5M2FNUZ F8_E8M0",
  16: "U16 I16 F16 BF16",
  32: "U32 I32 F32",
  64: "U64 I64 F64 C64",
};

const BITS: ReadonlyMap<unknown, number> = new Map(
  Object.entries(DTYPES).flatMap(([bits, names]) => names.split(" ").map((name) => [name, Number(bits)] as const)),
);

/** Still a whole number when counted in bits, at 64 bits an element. */
const MOST_ELEMENTS = Number.MAX_SAFE_INTEGER / 64;

/** Objects nested deeper than a header needs are not searched for repeated keys, so that memory stays bounded. */
const DEEPEST = 2;

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
  const all = Object.entries(tensors);
  if (all.length > LIMITS.tensors) {
    throw new ModelFileError(file, `the header names ${all.length} tensors; at most ${LIMITS.tensors} are read`);
  }
  const entries = all
    .map(([name, value]) => parseEntry(file, name, value))
    // A tensor of no bytes lies before the one that begins at the same place.
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(file, entries, dataBytes);
  return { entries, metadata };
}

function parseObject(file: string, header: Uint8Array): JsonObject {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch (cause) {
    throw new ModelFileError(file, "the header is not UTF-8", { cause });
  }
  if (text.startsWith("\uFEFF")) throw new ModelFileError(file, "the header starts with a byte order mark");
  const value = parseJson(file, text, "the header");
  if (!isObject(value)) throw new ModelFileError(file, `the header is ${shown(value)}, not an object`);
  const key = repeatedKey(text);
  if (key === undefined) return value;
  throw new ModelFileError(file, `the header has the key ${shown(key)} twice`);
}

function parseMetadata(file: string, metadata: unknown = {}): ReadonlyMap<string, string> {
  if (!isObject(metadata)) throw new ModelFileError(file, `__metadata__ is ${shown(metadata)}, not an object`);
  return new Map(
    Object.entries(metadata).map(([key, value]) => {
      if (typeof value === "string") return [key, value];
      throw new ModelFileError(file, `__metadata__ has ${shown(value)} as ${shown(key)}, not a string`);
    }),
  );
}

/** Reads one entry and checks that its type, shape and place agree. */
function parseEntry(file: string, name: string, value: unknown): Entry {
  if (name.length > LIMITS.name) {
    throw new ModelFileError(file, `a tensor has a name of ${name.length} characters; at most ${LIMITS.name} are read`);
  }
  function fail(problem: string): never {
    throw new ModelFileError(file, `tensor ${shown(name)} ${problem}`);
  }
  function counts(key: "shape" | "data_offsets", list: unknown): number[] {
    if (list === undefined) fail(`has no ${key}`);
    if (!Array.isArray(list)) fail(`has ${shown(list)} as ${key}, not a list`);
    if (list.length > LIMITS.dimensions) fail(`has ${list.length} numbers in its ${key}, more than any tensor`);
    const wrong = list.findIndex((item) => !isCount(item));
    if (wrong < 0) return list;
    fail(`has ${shown(list[wrong])} in its ${key}, not a whole number`);
  }

  if (!isObject(value)) fail(`is ${shown(value)}, not an object`);
  const { dtype } = value;
  const bits = BITS.get(dtype);
  if (dtype === undefined) fail("has no dtype");
  if (bits === undefined) fail(`has the unknown dtype ${shown(dtype)}`);
  const shape = counts("shape", value.shape);
  const offsets = counts("data_offsets", value.data_offsets);
  if (offsets.length !== 2) fail(`has ${offsets.length} data_offsets, not 2`);
  const [begin, end] = offsets as [number, number];
  if (end < begin) fail(`ends at byte ${end}, before it begins at ${begin}`);
  // Counted without the zeros: a dimension of zero does not excuse an overflow of the others.
  const nonzero = shape.reduce((count, size) => count * Math.max(size, 1), 1);
  if (nonzero > MOST_ELEMENTS) fail(`has a shape of ${nonzero} elements, more than can be counted`);
  if (nonzero > LIMITS.elements) fail(`has a shape of ${nonzero} elements; at most ${LIMITS.elements} are read`);
  const bytes = shape.includes(0) ? 0 : nonzero * bits / 8;
  if (bytes !== end - begin) fail(`has a shape of ${bytes} bytes, but ${end - begin} bytes of data`);
  return { name, dtype: dtype as string, shape, begin, end };
}

/** Whether a value is a whole number from 0 to 2^53 - 1; -0 is not, since it was written with a sign. */
function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0 && !Object.is(value, -0);
}

/** Every byte belongs to exactly one tensor. */
function checkLayout(file: string, entries: readonly Entry[], dataBytes: number): void {
  function fail(problem: string): never {
    throw new ModelFileError(file, problem);
  }
  let previous: Entry | undefined;
  for (const entry of entries) {
    const end = previous?.end ?? 0;
    if (entry.begin < end) {
      fail(`tensors ${shown(previous!.name)} and ${shown(entry.name)} overlap in bytes ${entry.begin} to ${end}`);
    }
    if (entry.begin > end) fail(`${entry.begin - end} bytes before tensor ${shown(entry.name)} belong to no tensor`);
    previous = entry;
  }
  const end = previous?.end ?? 0;
  if (end > dataBytes) fail(`${end - dataBytes} of ${end} bytes of data are missing; the download may be incomplete`);
  if (end < dataBytes) fail(`bytes that no tensor has follow the last one: ${dataBytes - end}`);
}

/**
 * The first key that an object in `json` holds twice: of two equal keys JSON.parse keeps the last in silence. `json` is
 * known to be valid; escapes are resolved before comparing.
 */
export function repeatedKey(json: string): string | undefined {
  const keys: Set<string>[] = [];
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === "{") {
      depth++;
      if (depth <= DEEPEST) keys[depth] = new Set();
    } else if (character === "}") {
      depth--;
    } else if (character === '"') {
      const end = stringEnd(json, at);
      if (depth <= DEEPEST && isKey(json, end)) {
        const key: string = JSON.parse(json.slice(at, end));
        if (keys[depth]!.has(key)) return key;
        keys[depth]!.add(key);
      }
      at = end - 1;
    }
  }
  return undefined;
}

/** The index after the string literal that starts at `start`. */
function stringEnd(json: string, start: number): number {
  let at = start + 1;
  while (json[at] !== '"') at += json[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** Whether the string literal that ended before `at` is a key: in valid JSON a colon follows nothing else. */
function isKey(json: string, at: number): boolean {
  while (" \t\n\r".includes(json[at]!)) at++;
  return json[at] === ":";
}
