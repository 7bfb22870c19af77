/**
 * Named tensors that are read one at a time, wherever their bytes come from.
 * Bytes are little-endian, as in the files and on every machine Deno runs on.
 * @module
 */

import { ModelFileError } from "./errors.ts";
import { shown } from "./json.ts";

/** An element type that can be read: IEEE half, bfloat16, IEEE single. */
export type DType = "F16" | "BF16" | "F32";

/** What is known of a tensor before its bytes are read. */
export interface TensorInfo {
  /** The name that {@link TensorSource.read} takes. */
  readonly name: string;
  /** The element type. */
  readonly dtype: DType;
  /** Row-major dimensions, outermost first; `[]` is a scalar. */
  readonly shape: readonly number[];
  /** Length of the tensor in bytes. */
  readonly bytes: number;
}

/** Named tensors; disposing it closes the files behind it. */
export interface TensorSource extends Disposable {
  /** The file, folder or formula that errors name. */
  readonly label: string;
  /** Every tensor, by name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * The tensor's bytes, in an array of their own that the source does not keep.
   * @throws {ModelFileError} the source has no tensor of this name, or its file can no longer be read whole
   */
  read(name: string): Uint8Array<ArrayBuffer>;
}

/**
 * What `map` holds for the tensor `name`.
 * @param label the {@link TensorSource.label} that the error names
 * @throws {ModelFileError} there is no such tensor
 */
export function lookUp<T>(label: string, map: ReadonlyMap<string, T>, name: string): T {
  const found = map.get(name);
  if (found !== undefined) return found;
  throw new ModelFileError(label, `there is no tensor ${shown(name)}`);
}

/** Bytes of one element. */
export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = {
  F16: 2,
  BF16: 2,
  F32: 4,
};

/**
 * The elements of a tensor in single precision; exact for all three types. F32 shares the memory of `bytes`.
 * @throws {RangeError} `bytes` is not as long as `info` says
 */
export function toFloat32(info: TensorInfo, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const buffer = exactBuffer(info, bytes);
  if (info.dtype === "F32") return new Float32Array(buffer);
  if (info.dtype === "F16") return new Float32Array(new Float16Array(buffer));
  // A bfloat16 is the upper half of a single.
  const halves = new Uint16Array(buffer);
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}

/**
 * The elements of a tensor as IEEE half bits, rounded to nearest even; what exceeds 65504 becomes infinite.
 * F16 shares the memory of `bytes`.
 * @throws {RangeError} `bytes` is not as long as `info` says
 */
export function toFloat16Bits(info: TensorInfo, bytes: Uint8Array<ArrayBuffer>): Uint16Array<ArrayBuffer> {
  if (info.dtype === "F16") return new Uint16Array(exactBuffer(info, bytes));
  return new Uint16Array(new Float16Array(toFloat32(info, bytes)).buffer);
}

/** The tensor's bytes alone in a buffer, which wider elements can be laid over. */
function exactBuffer(info: TensorInfo, bytes: Uint8Array<ArrayBuffer>): ArrayBuffer {
  if (bytes.length !== info.bytes) {
    throw new RangeError(`Tensor ${info.name} has ${info.bytes} bytes, but ${bytes.length} were given`);
  }
  const whole = bytes.length === bytes.buffer.byteLength;
  return whole ? bytes.buffer : bytes.slice().buffer;
}
