/**
 * Folders of downloaded repositories. Both have the layout of Hugging Face's cache, so one reader serves them:
 * `models--organisation--name/snapshots/<commit>/<path>` are links into `blobs`, where files have their hashes for
 * names, and `refs/<branch or tag>` holds a commit.
 * Layout: https://huggingface.co/docs/hub/local-cache
 * @module
 */
import { dirname, join } from "@std/path";
import { cacheFolder, type ReadVariable } from "../cache_folder.ts";
import { CacheError, ModelNotFoundError } from "../errors.ts";
import { entriesIn, isFile, kindOf, readText } from "../files.ts";
import { LIMITS } from "../limits.ts";
import { type HubFile, neededFiles } from "./listing.ts";
import { folderName, isCommit, type Repository, showRepository } from "./repository.ts";

/** A folder of repositories, which need not exist. */
export interface Cache {
  readonly owner: "denoise" | "Hugging Face";
  readonly folder: string;
}

/** Ends the names of files and folders that are not yet whole. */
export const INCOMPLETE = ".incomplete";

/**
 * The caches of this user, in the order in which they are searched. The program's own goes first: what is in it was
 * asked of this program, when the other did not have it or had an older commit.
 */
export function modelCaches(variable: ReadVariable): readonly Cache[] {
  const own = cacheFolder(variable);
  const other = huggingFaceFolder(variable);
  return [
    ...(own === undefined ? [] : [{ owner: "denoise", folder: join(own, "hub") } as const]),
    ...(other === undefined ? [] : [{ owner: "Hugging Face", folder: other } as const]),
  ];
}

/** As `huggingface_hub` finds it. */
function huggingFaceFolder(variable: ReadVariable): string | undefined {
  const [cache, home, xdg, user] = ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"].map(variable);
  if (cache) return cache;
  if (home) return join(home, "hub");
  if (xdg) return join(xdg, "huggingface", "hub");
  const profile = user || variable("USERPROFILE");
  return profile ? join(profile, ".cache", "huggingface", "hub") : undefined;
}

/** The folder of a repository with all that the program needs of it; undefined where no cache has it whole. */
export function findWhole(repository: Repository, variable: ReadVariable): string | undefined {
  return findAll(repository, variable).find((directory) => whatLacks(directory).length === 0);
}

/** As {@link findWhole}; a repository that no cache has whole is a ModelNotFoundError. */
export function findRepository(repository: Repository, variable: ReadVariable): string {
  const whole = findWhole(repository, variable);
  if (whole !== undefined) return whole;
  const name = showRepository(repository);
  const [part] = findAll(repository, variable);
  const state = part === undefined
    ? "is not on this machine, neither at that path nor in a cache"
    : `is in ${part} without ${whatLacks(part).join(", ")}`;
  throw new ModelNotFoundError(`The model ${name} ${state}; "denoise pull ${name}" downloads it`);
}

/** What the program needs and a folder does not have, in words. */
export function whatLacks(directory: string): readonly string[] {
  return neededFiles(filesBelow(directory)).missing;
}

function findAll({ name, revision }: Repository, variable: ReadVariable): readonly string[] {
  return modelCaches(variable).flatMap(({ folder }) => {
    const repository = join(folder, folderName(name));
    const ref = join(repository, "refs", ...revision.split("/"));
    const commit = isFile(ref) ? readText(ref, LIMITS.jsonBytes).trim() : revision;
    const snapshot = join(repository, "snapshots", commit);
    return isCommit(commit) && kindOf(snapshot) === "folder" ? [snapshot] : [];
  });
}

/** The paths of all files below a folder, with slashes, none where there is no folder; links to folders may be circles. */
export function filesBelow(folder: string): readonly string[] {
  return entriesIn(folder).flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    if (isDirectory) return filesBelow(path).map((below) => `${name}/${below}`);
    return isFile(path) ? [name] : [];
  });
}

/**
 * Holds the lock of a repository until the result is disposed of or the process ends, however it ends.
 * @param onWait is told that another download of it must end first
 */
export async function lockRepository(cache: string, name: string, onWait: () => void): Promise<Disposable> {
  const path = join(cache, ".locks", `${folderName(name)}.lock`);
  const file = storing(path, () => {
    Deno.mkdirSync(dirname(path), { recursive: true });
    return Deno.openSync(path, { write: true, create: true });
  });
  if (!storing(path, () => file.tryLockSync(true))) {
    onWait();
    await file.lock(true);
  }
  return file;
}

/** Whether a blob is here. Its name is the hash of a file that was checked, so it is enough to compare its length. */
export function hasBlob(blobs: string, { hash, size }: HubFile): boolean {
  return lengthOf(join(blobs, hash)) === size;
}

/** How many bytes of a blob are here: all, or what an interrupted download has left. */
export function presentBytes(blobs: string, file: HubFile): number {
  const { hash, size } = file;
  return hasBlob(blobs, file) ? size : Math.min(size, lengthOf(join(blobs, hash + INCOMPLETE)));
}

function lengthOf(path: string): number {
  return isFile(path) ? Deno.statSync(path).size : 0;
}

/** Makes the folder of blobs, and removes what interrupted downloads of other files than `files` have left in it. */
export function prepareBlobs(blobs: string, files: readonly HubFile[]): void {
  const wanted = new Set(files.map(({ hash }) => hash + INCOMPLETE));
  storing(blobs, () => {
    Deno.mkdirSync(blobs, { recursive: true });
    for (const { name } of Deno.readDirSync(blobs)) {
      if (name.endsWith(INCOMPLETE) && !wanted.has(name)) Deno.removeSync(join(blobs, name));
    }
  });
}

/** Makes the folder that {@link publishSnapshot} puts in the place of `folder`, two levels below the repository's. */
export function prepareSnapshot(folder: string, files: readonly HubFile[]): string {
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

export function publishSnapshot(folder: string): void {
  storing(folder, () => {
    removeFolder(folder);
    Deno.renameSync(folder + INCOMPLETE, folder);
  });
}

/** Lets a revision stand for a commit; `ref` is the revision's file. */
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

/** Turns what `act` throws, which writes `path`, into a CacheError. */
export function storing<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw new CacheError(path, cause);
  }
}
