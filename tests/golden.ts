/**
 * Reads golden tensors. The files are our own, so nothing is checked: the
 * loader that distrusts its input lives in `weights/`.
 * @module
 */

/** A tensor of a golden file, widened to float32. */
export interface Golden {
  /** Row-major dimensions. */
  readonly shape: readonly number[];
  /** As many values as the product of `shape`. */
  readonly data: Float32Array;
}

interface Entry {
  readonly dtype: keyof typeof readers;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [start: number, end: number];
}

const readers = {
  F32: (bytes: ArrayBuffer) => new Float32Array(bytes),
  F16: (bytes: ArrayBuffer) => new Float32Array(new Float16Array(bytes)),
  U8: (bytes: ArrayBuffer) => new Float32Array(new Uint8Array(bytes)),
};

/** Every tensor of the safetensors file at `path` (below the repository), by name. */
export function readGolden(path: string): Map<string, Golden> {
  const file = Deno.readFileSync(new URL(`../${path}`, import.meta.url));
  const { buffer } = file;
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, start)));
  delete header.__metadata__;
  return new Map(
    Object.entries<Entry>(header).map(([name, entry]) => {
      const [from, to] = entry.data_offsets;
      const data = readers[entry.dtype](buffer.slice(start + from, start + to));
      return [name, { shape: entry.shape, data }];
    }),
  );
}
