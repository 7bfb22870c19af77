/**
 * The contents of files in a cache, under their hashes.
 * @module
 */
import { join } from "@std/path";
import { isFile } from "../files.ts";
import type { HubFile } from "./listing.ts";
import { INCOMPLETE, storing } from "./partial_file.ts";

/** Whether a content is here. Its name is that of a file that was checked, so its length is enough to ask for. */
export function hasBlob(folder: string, file: HubFile): boolean {
  return lengthOf(join(folder, file.hash)) === file.size;
}

/** How many bytes of a content are here: all, or what an interrupted download has left. */
export function presentBytes(folder: string, file: HubFile): number {
  return hasBlob(folder, file) ? file.size : Math.min(file.size, lengthOf(join(folder, file.hash + INCOMPLETE)));
}

/**
 * Makes the folder, and removes what interrupted downloads of other contents than `files` have left in it.
 * @throws {CacheError} it cannot be written
 */
export function prepareBlobs(folder: string, files: readonly HubFile[]): void {
  const wanted = new Set(files.map(({ hash }) => hash + INCOMPLETE));
  storing(folder, () => {
    Deno.mkdirSync(folder, { recursive: true });
    for (const { name } of Deno.readDirSync(folder)) {
      if (name.endsWith(INCOMPLETE) && !wanted.has(name)) Deno.removeSync(join(folder, name));
    }
  });
}

function lengthOf(path: string): number {
  return isFile(path) ? Deno.statSync(path).size : 0;
}
