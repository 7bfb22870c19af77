/**
 * Named tensors that are read one at a time, wherever their bytes come from.
 * Bytes are little-endian, as in the files and on every machine that Deno runs on.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { shown } from "./json.ts";

/** An element type that can be read: IEEE half, bfloat16, IEEE single. */
export type DType = "F16" | "BF16" | "F32";

export interface TensorInfo {
  /** The name that {@link TensorSource.read} takes. */
  readonly name: string;
  readonly dtype: DType;
  /** Row-major dimensions, outermost first; `[]` is a scalar. */
  readonly shape: readonly number[];
  readonly bytes: number;
}

/** Which bytes of a tensor are read, and where to. */
export interface ReadOptions {
  /** The first byte; default 0. */
  readonly begin?: number;
  /** Is filled and returned; default a new array for all bytes from the first one on. */
  readonly into?: Uint8Array<ArrayBuffer>;
}

/** Named tensors; disposing of it closes its files. */
export interface TensorSource extends Disposable {
  /** The file, folder or formula that errors name. */
  readonly label: string;
  /** Every tensor, by name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * The tensor's bytes, or a part of them, in an array that the source does not keep.
   * @throws {ModelFileError} the source has no tensor of this name, or its file can no longer be read whole
   * @throws {RangeError} the tensor has fewer bytes than are asked for
   */
  read(name: string, options?: ReadOptions): Uint8Array<ArrayBuffer>;
  /**
   * {@link read} while the program goes on; others may be read meanwhile.
   * @throws {ModelFileError} the source has no tensor of this name, or its file can no longer be read whole
   * @throws {RangeError} the tensor has fewer bytes than are asked for
   */
  readAsync(name: string, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * What `map` holds for the tensor `name`; `label` is the source's, which the error names.
 * @throws {ModelFileError} there is no such tensor
 */
export function lookUp<T>(label: string, map: ReadonlyMap<string, T>, name: string): T {
  const found = map.get(name);
  if (found !== undefined) return found;
  throw new ModelFileError(label, `there is no tensor ${shown(name)}`);
}

/**
 * The array that a read fills, and the byte it begins with.
 * @throws {RangeError} the tensor has fewer bytes than are asked for
 */
export function readTarget({ name, bytes }: TensorInfo, options: ReadOptions = {}): Required<ReadOptions> {
  const { begin = 0, into = new Uint8Array(bytes - begin) } = options;
  if (begin + into.length <= bytes) return { begin, into };
  throw new RangeError(`Tensor ${name} has ${bytes} bytes, but ${begin + into.length} are to be read`);
}

export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = { F16: 2, BF16: 2, F32: 4 };
