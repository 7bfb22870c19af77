/**
 * The VAEs of tiny models as files.
 * @module
 */
import { type StoredTensor, storeTensors } from "./safetensors_bytes.ts";
import { openTinyPart, type TinyName } from "./tiny_files.ts";

/** A tensor's name in the file; undefined leaves it out. */
type Rename = (name: string) => string | undefined;

/** The bytes of a tiny model's VAE as a file, with `more` tensors. */
export function vaeFile(
  model: TinyName,
  rename: Rename = (name) => name,
  more: Readonly<Record<string, StoredTensor>> = {},
): Uint8Array<ArrayBuffer> {
  const source = openTinyPart("vae", model);
  const tensors = new Map(Object.entries(more));
  for (const { name, dtype, shape } of source.tensors.values()) {
    const renamed = rename(name);
    if (renamed !== undefined) tensors.set(renamed, { dtype, shape, bytes: source.read(name) });
  }
  return storeTensors(tensors);
}

/** One half in the names of the tiny autoencoder's authors, who count a decoder's layers from its clamp on. */
export function authors(half: "encoder" | "decoder"): Rename {
  return (name) => {
    const [, number, rest] = name.match(new RegExp(`^${half}\\.layers\\.(\\d+)(\\..+)$`)) ?? [];
    return number === undefined ? undefined : `${Number(number) + (half === "decoder" ? 1 : 0)}${rest}`;
  };
}
