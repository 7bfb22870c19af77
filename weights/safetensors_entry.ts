/**
 * One entry of a safetensors header: a tensor's type, shape and place.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { isObject, shown } from "./json.ts";

/** A tensor as its header states it, of any type that the format knows. */
export interface Entry {
  /** The tensor's name, any string. */
  readonly name: string;
  /** The element type as it is spelt in the file. */
  readonly dtype: string;
  /** Dimensions, outermost first. */
  readonly shape: readonly number[];
  /** The tensor's first byte, counted from the end of the header. */
  readonly begin: number;
  /** The byte after its last one. */
  readonly end: number;
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

/** What remains a whole number in bits at 64 bits an element. */
const MOST_ELEMENTS = Number.MAX_SAFE_INTEGER / 64;

/**
 * Reads one entry and checks that its type, shape and place agree.
 * @throws {ModelFileError} in the name of `file`
 */
export function parseEntry(file: string, name: string, value: unknown): Entry {
  function fail(problem: string): never {
    throw new ModelFileError(file, `tensor ${shown(name)} ${problem}`);
  }
  function counts(key: "shape" | "data_offsets", list: unknown): number[] {
    if (list === undefined) fail(`has no ${key}`);
    if (!Array.isArray(list)) fail(`has ${shown(list)} as ${key}, not a list`);
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
  const bytes = shape.includes(0) ? 0 : nonzero * bits / 8;
  if (bytes !== end - begin) fail(`has a shape of ${bytes} bytes, but ${end - begin} bytes of data`);
  return { name, dtype: dtype as string, shape, begin, end };
}

/** Whether a value is a whole number from 0 to 2^53 - 1; -0 is none, for it was written with a sign. */
function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0 && !Object.is(value, -0);
}
