/**
 * Canonical tensor names: those of today's diffusers and transformers, however old the file is.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { shown } from "./json.ts";
import { LIMITS } from "./limits.ts";
import {
  BYTES_PER_ELEMENT,
  lookUp,
  type ReadOptions,
  readTarget,
  type TensorInfo,
  type TensorSource,
} from "./tensor_source.ts";

/** A run of rows of a canonical tensor that a file stores as a tensor of its own. */
export interface Rows {
  readonly name: string;
  /** Which of the runs, from 0. */
  readonly index: number;
  /** How many runs of equal length make the tensor. */
  readonly of: number;
}

/** A canonical matrix whose rows a file stores as columns. */
export interface Turned {
  readonly turned: string;
}

/**
 * Maps a file's name to the canonical one: to several where the file stores them as one, each the next of equally many
 * rows; to {@link Rows} where it stores them apart, to {@link Turned} where rows are columns. Undefined for a tensor that
 * no model needs.
 */
export type Rename = (name: string) => string | readonly string[] | Rows | Turned | undefined;

/** Text encoder: transformers 5 dropped the prefix `text_model.`. */
export function textEncoderName(name: string): string {
  return name.replace(/^text_model\./, "");
}

const VAE_ATTENTION: Readonly<Record<string, string>> = {
  query: "to_q",
  key: "to_k",
  value: "to_v",
  proj_attn: "to_out.0",
};

/** VAE: early versions of diffusers had other names for the attention's layers. */
export function vaeName(name: string): string {
  return name.replace(
    /(?<=\.attentions\.\d+\.)(query|key|value|proj_attn)(?=\.(?:weight|bias)$)/,
    (layer) => VAE_ATTENTION[layer]!,
  );
}

/** Where a canonical tensor's bytes are, one run of rows after the other. */
interface Piece {
  /** The file's tensor. */
  readonly old: TensorInfo;
  /** The first byte in it. */
  readonly begin: number;
  readonly bytes: number;
}

/**
 * The same tensors under canonical names. An attention's linear layer that was stored as a 1x1 convolution,
 * `[out, in, 1, 1]`, is seen as the matrix that it is. Disposing of the result disposes of `source`.
 * @throws {ModelFileError} two tensors have one canonical name, or rows cannot be split or joined
 */
export function renameTensors(source: TensorSource, rename: Rename): TensorSource {
  const { label } = source;
  const pieces = new Map<string, Piece[]>();
  const wanted = new Map<string, number>();
  const turned = new Map<string, TensorInfo>();
  const place = (name: string, piece: Piece, { index, of }: Omit<Rows, "name"> = { index: 0, of: 1 }) => {
    const all = pieces.get(name) ?? [];
    const other = all[index]?.old.name;
    if (other !== undefined) {
      throw new ModelFileError(
        label,
        `tensors ${shown(other)} and ${shown(piece.old.name)} are two names of one weight`,
      );
    }
    all[index] = piece;
    pieces.set(name, all);
    wanted.set(name, of);
  };
  for (const [oldName, info] of source.tensors) {
    const target = rename(oldName);
    const old = { ...info, name: oldName };
    if (target === undefined) continue;
    else if (typeof target === "string") place(target, { old, begin: 0, bytes: info.bytes });
    else if ("turned" in target) {
      checkTurned(label, info);
      place(target.turned, { old, begin: 0, bytes: info.bytes });
      turned.set(target.turned, old);
    } else if ("name" in target) place(target.name, { old, begin: 0, bytes: info.bytes }, target);
    else {
      const rows = info.shape[0] ?? 0;
      if (rows % target.length !== 0) {
        throw new ModelFileError(
          label,
          `tensor ${shown(oldName)} has ${rows} rows, which ${target.length} cannot share`,
        );
      }
      const bytes = info.bytes / target.length;
      target.forEach((name, i) => place(name, { old, begin: i * bytes, bytes }));
    }
  }
  const tensors = new Map(
    Array.from(pieces, ([name, all]) => {
      const info = canonicalInfo(label, name, all, wanted.get(name)!);
      return [name, turned.has(name) ? { ...info, shape: info.shape.toReversed() } : info];
    }),
  );
  return {
    label,
    tensors,
    read(name, options) {
      const whole = turned.get(name);
      if (whole) return turn(whole, source.read(whole.name), options);
      const { into, parts } = piecesWithin(lookUp(label, tensors, name), lookUp(label, pieces, name), options);
      for (const { old, ...part } of parts) source.read(old, part);
      return into;
    },
    async readAsync(name, options) {
      const whole = turned.get(name);
      if (whole) return turn(whole, await source.readAsync(whole.name), options);
      const { into, parts } = piecesWithin(lookUp(label, tensors, name), lookUp(label, pieces, name), options);
      for (const { old, ...part } of parts) await source.readAsync(old, part);
      return into;
    },
    [Symbol.dispose]: () => source[Symbol.dispose](),
  };
}

/** What is known of a tensor that is made of `pieces`. */
function canonicalInfo(label: string, name: string, pieces: readonly Piece[], of: number): TensorInfo {
  const { old } = pieces.find((piece) => piece !== undefined)!;
  const rest = (info: TensorInfo) => `${info.dtype} ${info.shape.slice(1)}`;
  const whole = Array.from({ length: of }, (_, i) => pieces[i]);
  if (!whole.every((piece) => piece && rest(piece.old) === rest(old))) {
    throw new ModelFileError(
      label,
      `tensor ${shown(name)} is stored in ${of} parts, and not all are there or fit together`,
    );
  }
  const bytes = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
  const stored = old.shape.length === 0 ? [] : [old.shape[0]! * bytes / old.bytes, ...old.shape.slice(1)];
  return { name, dtype: old.dtype, shape: canonicalShape(name, stored), bytes };
}

/** A matrix is turned whole for each piece that is read of it. */
function checkTurned(label: string, { name, shape, bytes }: TensorInfo): void {
  if (shape.length === 2 && bytes <= LIMITS.turnedBytes) return;
  const wanted = `a matrix of at most ${LIMITS.turnedBytes} bytes`;
  throw new ModelFileError(label, `tensor ${shown(name)} is [${shape.join(", ")}], and must be ${wanted}`);
}

/** What is asked for of a matrix whose columns are the rows of `stored`. */
function turn(old: TensorInfo, stored: Uint8Array, options?: ReadOptions): Uint8Array<ArrayBuffer> {
  const { begin, into } = readTarget(old, options);
  const size = BYTES_PER_ELEMENT[old.dtype];
  const [rows, columns] = old.shape as [number, number];
  for (let i = 0; i < into.length; i++) {
    const [element, byte] = [Math.floor((begin + i) / size), (begin + i) % size];
    into[i] = stored[(element % rows * columns + Math.floor(element / rows)) * size + byte]!;
  }
  return into;
}

/** What is to be read of a tensor, and from which of the file's. */
function piecesWithin(info: TensorInfo, pieces: readonly Piece[], options?: ReadOptions) {
  const { begin, into } = readTarget(info, options);
  let start = 0;
  const parts = pieces.flatMap(({ old, begin: offset, bytes }) => {
    const from = Math.max(begin, start);
    const to = Math.min(begin + into.length, start + bytes);
    const part = { old: old.name, begin: offset + from - start, into: into.subarray(from - begin, to - begin) };
    start += bytes;
    return from < to ? [part] : [];
  });
  return { into, parts };
}

function canonicalShape(name: string, shape: readonly number[]): readonly number[] {
  const [rows, columns, ...kernel] = shape;
  const isAttention = /\.to_(?:q|k|v|out\.0)\.weight$/.test(name);
  return isAttention && kernel.join() === "1,1" ? [rows!, columns!] : shape;
}
