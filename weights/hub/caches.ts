/**
 * Folders of downloaded repositories. Both have the layout of Hugging Face's cache, so one reader serves them:
 * `models--organisation--name/snapshots/<commit>/<path>` are links into `blobs`, where files have their hashes for
 * names, and `refs/<branch or tag>` holds a commit.
 * Layout: https://huggingface.co/docs/hub/local-cache
 * @module
 */
import { join } from "@std/path";
import { cacheFolder, type ReadVariable } from "../cache_folder.ts";
import { isFile, kindOf, readText } from "../files.ts";
import { folderName, type Repository } from "./repository.ts";

/** A folder of repositories, which need not exist. */
export interface Cache {
  /** Whose it is. */
  readonly owner: "denoise" | "Hugging Face";
  /** Where it is. */
  readonly folder: string;
}

/**
 * The caches of this user, in the order in which they are looked through. The program's own goes first: what is in it
 * was asked of this program, when the other did not have it or had an older commit.
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

/** The folder of a repository's files at its revision; undefined where this cache does not have it. */
export function findSnapshot({ folder }: Cache, { name, revision }: Repository): string | undefined {
  const repository = join(folder, folderName(name));
  const ref = join(repository, "refs", ...revision.split("/"));
  const commit = isFile(ref) ? readText(ref).trim() : revision;
  if (!isCommit(commit)) return undefined;
  const snapshot = join(repository, "snapshots", commit);
  return kindOf(snapshot) === "folder" ? snapshot : undefined;
}

/** Whether a text is a commit, as Git names it. */
export function isCommit(text: string): boolean {
  return /^[0-9a-f]{40}$/.test(text);
}

/** The paths of all files below a folder, with slashes, none where there is no folder; links are followed. */
export function filesBelow(folder: string): readonly string[] {
  if (kindOf(folder) !== "folder") return [];
  return Array.from(Deno.readDirSync(folder)).flatMap(({ name }) => {
    const path = join(folder, name);
    const kind = kindOf(path);
    if (kind === "folder") return filesBelow(path).map((below) => `${name}/${below}`);
    return kind === "file" ? [name] : [];
  });
}
