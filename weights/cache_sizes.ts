/**
 * How much caches take.
 * @module
 */
import { join } from "@std/path";
import { cacheFolder, type ReadVariable } from "./cache_folder.ts";
import { type Cache, modelCaches } from "./hub/cache.ts";

export interface CacheSize extends Cache {
  /** Length of its files in bytes; 0 where there is no folder. */
  readonly bytes: number;
}

/** The program's own cache, models and everything else, and Hugging Face's models. */
export function cacheSizes(variable: ReadVariable): readonly CacheSize[] {
  const own = cacheFolder(variable);
  const others = modelCaches(variable).filter(({ owner }) => owner !== "denoise");
  const caches: readonly Cache[] = [
    ...(own === undefined ? [] : [{ owner: "denoise", folder: own } as const]),
    ...others,
  ];
  return caches.map((cache) => ({ ...cache, bytes: bytesOf(cache.folder) }));
}

/** Links are not followed: in these caches they lead to files that are counted themselves. */
function bytesOf(folder: string): number {
  let bytes = 0;
  try {
    for (const { name, isFile, isDirectory } of Deno.readDirSync(folder)) {
      const path = join(folder, name);
      if (isDirectory) bytes += bytesOf(path);
      if (isFile) bytes += Deno.lstatSync(path).size;
    }
  } catch (error) {
    // Absent, gone by now, or another user's.
    const { NotFound, PermissionDenied } = Deno.errors;
    if (!(error instanceof NotFound || error instanceof PermissionDenied)) throw error;
  }
  return bytes;
}
