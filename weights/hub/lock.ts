/**
 * One download of a repository at a time.
 * @module
 */
import { join } from "@std/path";
import { storing } from "./partial_file.ts";
import { folderName } from "./repository.ts";

/**
 * Holds the lock of a repository until the result is disposed of or the process ends, however it ends.
 * @param cache the folder of the cache
 * @param onWait is told that another download of it must end first
 * @throws {CacheError} the cache cannot be written
 */
export async function lockRepository(cache: string, name: string, onWait: () => void): Promise<Disposable> {
  const folder = join(cache, ".locks");
  const path = join(folder, `${folderName(name)}.lock`);
  const file = storing(path, () => {
    Deno.mkdirSync(folder, { recursive: true });
    return Deno.openSync(path, { write: true, create: true });
  });
  if (!storing(path, () => file.tryLockSync(true))) {
    onWait();
    await file.lock(true);
  }
  return file;
}
