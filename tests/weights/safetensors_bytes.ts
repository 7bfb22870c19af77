/**
 * Builds safetensors files, right and wrong, and puts them where they can be opened.
 * @module
 */

/** One header entry as JSON has it. */
export function entry(shape: unknown, begin: unknown, end: unknown, dtype: unknown = "F32"): Record<string, unknown> {
  return { dtype, shape, data_offsets: [begin, end] };
}

/** A file of a header, given as bytes, as text or as what becomes JSON, and of `dataBytes` bytes counting up from 0. */
export function safetensors(header: unknown, dataBytes = 0): Uint8Array<ArrayBuffer> {
  const text = typeof header === "string" ? header : JSON.stringify(header);
  const bytes = header instanceof Uint8Array ? header : new TextEncoder().encode(text);
  const file = new Uint8Array(8 + bytes.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(bytes.length), true);
  file.set(bytes, 8);
  for (let i = 0; i < dataBytes; i++) file[8 + bytes.length + i] = i;
  return file;
}

/** A tensor as a file holds it. */
export interface StoredTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A file of these tensors, one after the other. */
export function storeTensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  let end = 0;
  const entries = [...tensors].map(([name, { dtype, shape, bytes }]) =>
    [name, entry(shape, end, end += bytes.length, dtype)] as const
  );
  const file = safetensors({ __metadata__: metadata, ...Object.fromEntries(entries) }, end);
  let at = file.length - end;
  for (const { bytes } of tensors.values()) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

/** A file whose header claims `length` bytes, with `rest` behind. */
export function claiming(length: bigint, rest: string): Uint8Array<ArrayBuffer> {
  const file = safetensors(rest);
  new DataView(file.buffer).setBigUint64(0, length, true);
  return file;
}

/** Runs `use` with the path of a new folder, which is gone afterwards. */
export function withFolder(use: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "denoise-test-" });
  try {
    use(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Runs `use` with the path of a file that holds `bytes`. */
export function withFile(bytes: Uint8Array, use: (path: string) => void): void {
  withFolder((folder) => {
    const path = `${folder}/model.safetensors`;
    Deno.writeFileSync(path, bytes);
    use(path);
  });
}
