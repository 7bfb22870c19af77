/**
 * Weights from files to the GPU: read piece by piece while the pieces before are on their way, and packed there where
 * the backend can do that.
 * @module
 */
import type { Backend, StoredType } from "./backend.ts";
import type { Gpu } from "./gpu.ts";
import type { Launch } from "./launch.ts";
import type { Layer } from "./layer.ts";
import { Program } from "./program.ts";
import { MOST_TAKEN } from "./staging.ts";
import type { BufferLayout, Memory } from "./tensor.ts";

/** Weights of some outputs of a layer, `[out, in, taps]` row-major, as a file has them. */
export interface StoredWeights {
  readonly out: number;
  readonly type: StoredType;
  /** Fills `into` with their bytes from `begin` on. */
  read(begin: number, into: Uint8Array<ArrayBuffer>): Promise<unknown>;
  /** What the GPU adds to what `read` gives, in float32; {@link values} have it already. */
  readonly plus?: () => LowRank;
  /** Fills `into`, which is as long as they are, with their values, as float32 or as the bits of float16. */
  values(into: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>): void;
}

/** A product, `up` times `down`, as large as some weights. */
export interface LowRank {
  readonly rank: number;
  /** `[out, rank]`. */
  readonly up: Float32Array<ArrayBuffer>;
  /** `[rank, in, taps]`. */
  readonly down: Float32Array<ArrayBuffer>;
}

/** A layer without weights, and where they are: those of its first outputs first. */
export interface Filling {
  readonly layer: Layer;
  /** Whether the layer keeps float16. */
  readonly half: boolean;
  readonly parts: readonly StoredWeights[];
}

/** Bytes that are read and written at once: smaller pieces stay in the processor's cache, larger ones need fewer waits. */
const PIECE = 8 << 20;

const BYTES: Readonly<Record<StoredType, number>> = { F16: 2, BF16: 2, F32: 4 };

/**
 * Fills layers, each before the next.
 *
 * @throws {RangeError} when the weights of one output take more than 8 MiB.
 */
export async function upload(gpu: Gpu, backend: Backend, fillings: readonly Filling[]): Promise<void> {
  if (backend.packRows) await uploadPieces(gpu, backend.packRows, fillings);
  else packOnHost(gpu, backend, fillings);
}

/** Some outputs of one tensor, within a piece. */
interface Slice {
  readonly filling: Filling;
  readonly part: StoredWeights;
  /** The first byte of the tensor. */
  readonly begin: number;
  readonly bytes: number;
  /** The first byte of the piece, a multiple of 4. */
  readonly at: number;
  /** The first output of the layer. */
  readonly first: number;
  readonly count: number;
}

async function uploadPieces(
  gpu: Gpu,
  packRows: NonNullable<Backend["packRows"]>,
  fillings: readonly Filling[],
): Promise<void> {
  const layout: BufferLayout = { kind: "buffer", element: "u32", stride: PIECE >> 2, bytes: PIECE };
  const raw: Memory = { layout, label: "weights as they are stored", kept: true };
  // Those of the piece before and of this one; the outputs of a part follow each other.
  const products = new Map<StoredWeights, Product>();
  const productOf = ({ part }: Slice): Product | undefined => {
    if (part.plus === undefined || products.has(part)) return products.get(part);
    const { rank, up, down } = part.plus();
    const product = { rank, up: factor(gpu, up), down: factor(gpu, down) };
    products.set(part, product);
    return product;
  };
  const freeExcept = (kept?: StoredWeights) => {
    for (const [part, { up, down }] of products) {
      if (part === kept) continue;
      [up, down].forEach((memory) => gpu.free(memory));
      products.delete(part);
    }
  };
  await using staging = gpu.stage(PIECE);
  const send = (slices: readonly Slice[]) => {
    const { at, bytes, part } = slices.at(-1)!;
    staging.send(raw, aligned(at + bytes));
    const program = new Program(gpu, slices.map((slice) => launchOf(packRows, slice, raw, productOf(slice))));
    program.run();
    program.dispose();
    freeExcept(part);
  };
  // Some pieces are read side by side, while those before are sent.
  const coming: { readonly slices: readonly Slice[]; readonly read: Promise<void> }[] = [];
  const sendFirst = async () => {
    const { slices, read } = coming[0]!;
    await read;
    coming.shift();
    send(slices);
  };
  try {
    for (const slices of piecesOf(fillings)) {
      const read = readSlices(slices, await staging.take());
      // Whoever sends it hears of it.
      read.catch(() => {});
      coming.push({ slices, read });
      if (coming.length === MOST_TAKEN) await sendFirst();
    }
    while (coming.length > 0) await sendFirst();
  } finally {
    // What is still being read goes into rooms that are about to be given up.
    await Promise.allSettled(coming.map(({ read }) => read));
    gpu.free(raw);
    freeExcept();
  }
}

async function readSlices(slices: readonly Slice[], room: Uint8Array<ArrayBuffer>): Promise<void> {
  for (const { part, begin, bytes, at } of slices) await part.read(begin, room.subarray(at, at + bytes));
}

/** A {@link LowRank} on the GPU. */
interface Product {
  readonly rank: number;
  readonly up: Memory;
  readonly down: Memory;
}

function factor(gpu: Gpu, values: Float32Array<ArrayBuffer>): Memory {
  const stride = aligned(values.length);
  const layout: BufferLayout = { kind: "buffer", element: "f32", stride, bytes: 4 * stride };
  const memory: Memory = { layout, label: "factor of weights", kept: true };
  gpu.write(memory, values);
  return memory;
}

function launchOf(
  packRows: NonNullable<Backend["packRows"]>,
  slice: Slice,
  raw: Memory,
  product: Product | undefined,
): Launch {
  const { filling, filling: { layer }, part, part: { type }, begin, at, first, count } = slice;
  const { weights: { memory }, in: inputs, window } = layer;
  const plus = product && { plus: { ...product, skipped: begin / rowBytes(filling, part) } };
  return packRows({ raw, start: at >> 2, type, weights: memory, inputs, taps: window * window, first, count, ...plus });
}

/** All weights in pieces, each of whole outputs. */
function* piecesOf(fillings: readonly Filling[]): Generator<readonly Slice[]> {
  let slices: Slice[] = [];
  let end = 0;
  for (const filling of fillings) {
    let first = 0;
    for (const part of filling.parts) {
      const row = rowBytes(filling, part);
      if (row > PIECE) throw new RangeError(`An output of ${row} bytes is larger than a piece`);
      for (let done = 0; done < part.out;) {
        const count = Math.min(part.out - done, Math.floor((PIECE - end) / row));
        if (count === 0) {
          yield slices;
          [slices, end] = [[], 0];
          continue;
        }
        const bytes = count * row;
        slices.push({ filling, part, begin: done * row, bytes, at: end, first: first + done, count });
        done += count;
        end = aligned(end + bytes);
      }
      first += part.out;
    }
  }
  if (slices.length > 0) yield slices;
}

/** Bytes of one output. */
function rowBytes({ layer }: Filling, { type }: StoredWeights): number {
  return layer.in * layer.window * layer.window * BYTES[type];
}

/** To whole words, as writes are. */
function aligned(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

/** Memory that is taken again and again, so that what is dropped does not pile up until it is collected. */
class Room {
  #memory = new ArrayBuffer();

  /** At least `bytes`, until the next call. */
  take(bytes: number): ArrayBuffer {
    if (this.#memory.byteLength < bytes) this.#memory = new ArrayBuffer(bytes);
    return this.#memory;
  }
}

function packOnHost(gpu: Gpu, backend: Backend, fillings: readonly Filling[]): void {
  const [read, packed] = [new Room(), new Room()];
  for (const { layer: { weights, in: inputs, out, window }, half, parts } of fillings) {
    const taps = window * window;
    const count = out * inputs * taps;
    const memory = read.take(count * (half ? 2 : 4));
    const data = half ? new Uint16Array(memory, 0, count) : new Float32Array(memory, 0, count);
    let end = 0;
    for (const part of parts) part.values(data.subarray(end, end += part.out * inputs * taps));
    const room = (bytes: number) => packed.take(bytes);
    gpu.write(weights.memory, backend.pack({ out, in: inputs, taps, data, room }).data);
  }
}
