/**
 * The models on this machine, those apart that lie in folders which only their user knows.
 * @module
 */
import { join } from "@std/path";
import type { ReadVariable } from "./cache_folder.ts";
import { entriesIn, isFile, kindOf, readText } from "./files.ts";
import { type Cache, filesBelow, findWhole, INCOMPLETE, modelCaches, whatLacks } from "./hub/cache.ts";
import { type Repository, repositoryName, showRepository } from "./hub/repository.ts";
import { LIMITS } from "./limits.ts";
import { findEmbedded, listEmbedded } from "./open.ts";

export interface ListedModel {
  /** What opens it, or downloads the rest of it. */
  readonly name: string;
  /** Whose folder it is in; `embedded` for a model that comes with the program. */
  readonly owner: Cache["owner"] | "embedded";
  readonly directory: string;
  readonly bytes: number;
  /** What the program needs of it and is not there, in words. */
  readonly missing: readonly string[];
}

/** The embedded models, and those in the caches that are models in the layout of diffusers. */
export function listModels(variable: ReadVariable): readonly ListedModel[] {
  const embedded = listEmbedded().map((name) => describe(findEmbedded(name)!, { name, owner: "embedded" }));
  return [...embedded, ...modelCaches(variable).flatMap((cache) => listCache(cache, variable))];
}

function listCache({ owner, folder }: Cache, variable: ReadVariable): readonly ListedModel[] {
  return foldersIn(folder).flatMap((repositoryFolder) => {
    const name = repositoryName(repositoryFolder);
    if (name === undefined) return [];
    const repository = join(folder, repositoryFolder);
    const snapshots = join(repository, "snapshots");
    return foldersIn(snapshots).flatMap((commit) => {
      const directory = join(snapshots, commit);
      if (!isFile(join(directory, "model_index.json"))) return [];
      if (commit.endsWith(INCOMPLETE)) {
        return { ...describe(directory, { name, owner }), bytes: bytesBelow(join(repository, "blobs")) };
      }
      const revisions = [...revisionsOf(join(repository, "refs"), commit), commit];
      // The same name in another cache may go before this one.
      const meant = revisions.map((revision): Repository => ({ name, revision }))
        .find((candidate) => findWhole(candidate, variable) === directory);
      return describe(directory, { name: meant === undefined ? name : showRepository(meant), owner });
    });
  });
}

function describe(directory: string, about: Pick<ListedModel, "name" | "owner">): ListedModel {
  return { ...about, directory, bytes: bytesBelow(directory), missing: whatLacks(directory) };
}

/** The branches and tags that stand for a commit, `main` first. */
function revisionsOf(refs: string, commit: string): readonly string[] {
  const revisions = filesBelow(refs).filter((path) => readText(join(refs, path), LIMITS.jsonBytes).trim() === commit);
  return revisions.toSorted((a, b) => Number(b === "main") - Number(a === "main") || (a < b ? -1 : 1));
}

function bytesBelow(folder: string): number {
  return filesBelow(folder).reduce((sum, path) => sum + Deno.statSync(join(folder, path)).size, 0);
}

function foldersIn(folder: string): readonly string[] {
  return entriesIn(folder).map(({ name }) => name)
    .filter((name) => kindOf(join(folder, name)) === "folder")
    .sort();
}
