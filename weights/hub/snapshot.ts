/**
 * The files of a commit under their own names, which appear all at once.
 * @module
 */
import { dirname, join } from "@std/path";
import { INCOMPLETE, storing } from "./partial_file.ts";

/** A file of the commit, and the name that its content has in the cache. */
export interface Linked {
  /** Where it is in the repository. */
  readonly path: string;
  /** Its name in `blobs`. */
  readonly hash: string;
}

/**
 * A folder beside the commit's own in which those files are that are here already.
 * @param folder the commit's own, two levels below that of the repository
 * @throws {CacheError} it cannot be written
 */
export function prepareSnapshot(folder: string, files: readonly Linked[]): string {
  const prepared = folder + INCOMPLETE;
  storing(prepared, () => {
    removeFolder(prepared);
    for (const { path, hash } of files) {
      const link = join(prepared, path);
      Deno.mkdirSync(dirname(link), { recursive: true });
      linkFile(join("../".repeat(path.split("/").length + 1), "blobs", hash), link);
    }
  });
  return prepared;
}

/**
 * Puts a prepared folder in its place.
 * @throws {CacheError} it cannot be written
 */
export function publishSnapshot(folder: string): void {
  storing(folder, () => {
    removeFolder(folder);
    Deno.renameSync(folder + INCOMPLETE, folder);
  });
}

/**
 * Lets a revision stand for a commit.
 * @param ref the revision's file
 * @throws {CacheError} it cannot be written
 */
export function nameCommit(ref: string, commit: string): void {
  storing(ref, () => {
    Deno.mkdirSync(dirname(ref), { recursive: true });
    Deno.writeTextFileSync(ref + INCOMPLETE, commit);
    Deno.renameSync(ref + INCOMPLETE, ref);
  });
}

function removeFolder(folder: string): void {
  try {
    Deno.removeSync(folder, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Windows lets only some users make symbolic links; a second name of the same file is as good. */
function linkFile(target: string, link: string): void {
  try {
    Deno.symlinkSync(target, link, { type: "file" });
  } catch {
    Deno.linkSync(join(dirname(link), target), link);
  }
}
