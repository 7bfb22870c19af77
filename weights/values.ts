/**
 * Values of tensors in the type that is wanted, whichever they are stored in.
 * @module
 */
import { BYTES_PER_ELEMENT, type DType, lookUp, type TensorInfo, type TensorSource } from "./tensor_source.ts";

/** Single precision, or bits of IEEE half. */
export type Values = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

/** What is converted passes through a buffer of this length. */
const CHUNK_BYTES = 4 * 2 ** 20;

/**
 * Fills `into` with a tensor's values: exact in single precision; as halves rounded to nearest even, infinite above
 * 65504. Takes memory for one chunk, and none where the type is the stored one.
 * @throws {ModelFileError} the source has no tensor of this name, or its file can no longer be read whole
 * @throws {RangeError} `into` is not as long as the tensor
 */
export function readValues(source: Pick<TensorSource, "label" | "tensors" | "read">, name: string, into: Values): void {
  const { dtype, bytes } = lookUp(source.label, source.tensors, name);
  const size = BYTES_PER_ELEMENT[dtype];
  if (into.length * size !== bytes) {
    throw new RangeError(`Tensor ${name} has ${bytes / size} values, but there is room for ${into.length}`);
  }
  if (dtype === (into instanceof Float32Array ? "F32" : "F16")) {
    source.read(name, { into: new Uint8Array(into.buffer, into.byteOffset, into.byteLength) });
    return;
  }
  const chunk = new Uint8Array(Math.min(CHUNK_BYTES, bytes));
  for (let begin = 0; begin < bytes; begin += chunk.length) {
    const part = source.read(name, { begin, into: chunk.subarray(0, bytes - begin) });
    convert(dtype, part, into.subarray(begin / size, (begin + part.length) / size));
  }
}

/**
 * The values of a tensor's bytes in single precision; F32 shares their memory.
 * @throws {RangeError} `bytes` is not as long as `info` says
 */
export function toFloat32(info: TensorInfo, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  if (bytes.length !== info.bytes) {
    throw new RangeError(`Tensor ${info.name} has ${info.bytes} bytes, but ${bytes.length} were given`);
  }
  const aligned = bytes.byteOffset % BYTES_PER_ELEMENT[info.dtype] === 0 ? bytes : bytes.slice();
  const length = bytes.length / BYTES_PER_ELEMENT[info.dtype];
  if (info.dtype === "F32") return new Float32Array(aligned.buffer, aligned.byteOffset, length);
  const values = new Float32Array(length);
  convert(info.dtype, aligned, values);
  return values;
}

function convert(dtype: DType, { buffer, byteOffset }: Uint8Array<ArrayBuffer>, into: Values): void {
  const { length } = into;
  if (into instanceof Float32Array) {
    if (dtype === "F16") widenHalves(new Float16Array(buffer, byteOffset, length), into);
    else widen(new Uint16Array(buffer, byteOffset, length), new Uint32Array(into.buffer, into.byteOffset, length));
  } else if (dtype === "F32") {
    new Float16Array(into.buffer, into.byteOffset, length).set(new Float32Array(buffer, byteOffset, length));
  } else {
    translate(new Uint16Array(buffer, byteOffset, length), into);
  }
}

/** V8's own `set` takes four times as long. */
function widenHalves(halves: Float16Array, into: Float32Array): void {
  for (let i = 0; i < halves.length; i++) into[i] = halves[i]!;
}

/** A bfloat16 is the upper half of a single. */
function widen(halves: Uint16Array, into: Uint32Array): void {
  for (let i = 0; i < halves.length; i++) into[i] = halves[i]! << 16;
}

/** The IEEE half of every bfloat16. */
let halfOfBfloat: Uint16Array | undefined;

/** By a table of all there are: in two steps a conversion took three times as long as reading. */
function translate(from: Uint16Array, into: Uint16Array): void {
  halfOfBfloat ??= tabulateHalves();
  const table = halfOfBfloat;
  for (let i = 0; i < from.length; i++) into[i] = table[from[i]!]!;
}

function tabulateHalves(): Uint16Array {
  const singles = Uint32Array.from({ length: 65536 }, (_, bits) => bits << 16);
  return new Uint16Array(new Float16Array(new Float32Array(singles.buffer)).buffer);
}
