/**
 * Weights that are computed from their names, so that a model of any size needs no file. They mean nothing, but have
 * the magnitudes of real ones: activations neither vanish nor overflow. PyTorch can compute the same.
 * @module
 */
import { BYTES_PER_ELEMENT, lookUp, readTarget, type TensorInfo, type TensorSource } from "./tensor_source.ts";

/**
 * Computed weights for tensors of the given names and shapes. Every value is rounded to half precision; F32
 * stores the same values in more bytes.
 * @param prefix goes before each name, so that two parts with the same names differ
 */
export function openFormula(
  prefix: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  dtype: "F16" | "F32" = "F16",
): TensorSource {
  const tensors = new Map<string, TensorInfo>();
  for (const [name, shape] of shapes) {
    const bytes = product(shape) * BYTES_PER_ELEMENT[dtype];
    tensors.set(name, { name, dtype, shape, bytes });
  }
  const label = `computed weights ${prefix}`;
  const read: TensorSource["read"] = (name, options) => {
    const info = lookUp(label, tensors, name);
    const { begin, into } = readTarget(info, options);
    const [first, count] = [begin, into.length].map((bytes) => bytes / BYTES_PER_ELEMENT[dtype]) as [number, number];
    const values = compute(fnv1a(`${prefix}.${name}`), { first, count, ...range(info) });
    into.set(new Uint8Array(dtype === "F16" ? values.buffer : new Float32Array(values).buffer));
    return into;
  };
  return {
    label,
    tensors,
    read,
    readAsync: (name, options) => Promise.try(read, name, options),
    [Symbol.dispose]() {},
  };
}

/** Values are `offset + u / divisor * factor` for u in [-1, 1). */
interface Range {
  readonly offset: number;
  readonly divisor: number;
  readonly factor: number;
}

/** The spread of a tensor's values, by the kind of layer that its name and shape show. */
function range({ name, shape }: TensorInfo): Range {
  if (shape.length < 2) {
    return name.endsWith("weight") ? { offset: 1, divisor: 1, factor: 0.1 } : { offset: 0, divisor: 1, factor: 0.05 };
  }
  const row = product(shape.slice(1));
  if (!name.includes("embedding")) return { offset: 0, divisor: Math.sqrt(row), factor: 1.5 };
  const fan = name.includes("time") ? row : shape.at(-1)!;
  const root = Math.sqrt(fan);
  return { offset: 0, divisor: root, factor: root * 0.02 };
}

/**
 * `count` values from number `first` on: multiples of the golden ratio, mixed by MurmurHash3's finaliser into uniform
 * 32-bit integers. 4 to 6 ns a value on one x86-64 core, so a billion take about 5 s.
 */
function compute(seed: number, wanted: Range & { first: number; count: number }): Float16Array<ArrayBuffer> {
  const { offset, divisor, factor, first, count } = wanted;
  const values = new Float16Array(count);
  let state = (seed + Math.imul(first, 2654435761)) | 0;
  for (let i = 0; i < count; i++) {
    let x = state;
    state = (state + 2654435761) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x = (x ^ (x >>> 16)) >>> 0;
    const u = x / 2 ** 32 * 2 - 1;
    values[i] = Math.fround(offset + u / divisor * factor);
  }
  return values;
}

/** FNV-1a, 32 bits, of the text's UTF-8. */
function fnv1a(text: string): number {
  let hash = 2166136261;
  for (const byte of new TextEncoder().encode(text)) {
    hash = Math.imul(hash ^ byte, 16777619);
  }
  return hash;
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
