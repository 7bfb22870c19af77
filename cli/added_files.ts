/**
 * Files beside the model that a picture needs, LoRAs, textual inversions and upscalers: opened once, and told in records.
 * @module
 */
import { UsageError } from "./errors.ts";

/** What is known of this many files is kept. */
const KEPT = 64;

/** Opens files, each once while the run lasts. */
export class OpenedFiles<File> {
  readonly #open: (path: string) => File;
  readonly #files = new Map<string, File>();

  constructor(open: (path: string) => File) {
    this.#open = open;
  }

  open(path: string): File {
    const file = this.#files.get(path) ?? this.#open(path);
    this.#files.delete(path);
    this.#files.set(path, file);
    if (this.#files.size > KEPT) this.#files.delete(this.#files.keys().next().value!);
    return file;
  }
}

/** A file as records of a picture name it. */
export interface FileRecord {
  readonly name: string;
  /** SHA-256 of the file. */
  readonly sha256: string;
}

/** The records in what a stranger's file says, whose fields are of these types; undefined when there are none. */
export function readRecords<T extends FileRecord>(
  value: unknown,
  types: Readonly<Record<Exclude<keyof T, keyof FileRecord>, "string" | "number">>,
): readonly T[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const fields = Object.entries({ name: "string", sha256: "string", ...types });
  return value.filter((item): item is T =>
    typeof item === "object" && item !== null && fields.every(([field, type]) => typeof item[field] === type)
  );
}

/**
 * Refuses files that are called as those of a picture are, and are others.
 *
 * @throws {UsageError} naming the first, a `kind`.
 */
export function checkRecords(
  kind: string,
  now: readonly FileRecord[] = [],
  { then = [], from }: { readonly then?: readonly FileRecord[] | undefined; readonly from: string },
): void {
  for (const { name, sha256 } of now) {
    const same = then.filter((record) => stemOf(record.name) === stemOf(name));
    if (same.length === 0 || same.some((record) => record.sha256 === sha256)) continue;
    throw new UsageError(
      `The ${kind} ${name} is another file than that of this name with which ${from} was made: its SHA-256 is ${sha256}, ` +
        `and was ${same[0]!.sha256}`,
    );
  }
}

/** A file's name without folder and ending. */
export function stemOf(name: string): string {
  return name.replace(/^.*[/\\]/s, "").replace(/\.safetensors$/i, "");
}
