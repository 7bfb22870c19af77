/**
 * Finds repositories that are on this machine; the network is never asked.
 * @module
 */
import type { ReadVariable } from "../cache_folder.ts";
import { ModelNotFoundError } from "../errors.ts";
import { filesBelow, findSnapshot, modelCaches } from "./caches.ts";
import { neededFiles } from "./needed_files.ts";
import { type Repository, showRepository } from "./repository.ts";

/** The folder of a repository with all that the program needs of it; undefined where no cache has it so. */
export function findWhole(repository: Repository, variable: ReadVariable): string | undefined {
  return findAll(repository, variable).find((directory) => whatLacks(directory).length === 0);
}

/**
 * The folder of a repository with all that the program needs of it.
 * @throws {ModelNotFoundError} no cache has it so
 */
export function findRepository(repository: Repository, variable: ReadVariable): string {
  const whole = findWhole(repository, variable);
  if (whole !== undefined) return whole;
  const name = showRepository(repository);
  const [part] = findAll(repository, variable);
  const state = part === undefined
    ? "is not on this machine, neither at that path nor in a cache"
    : `lies in ${part} without ${whatLacks(part).join(", ")}`;
  throw new ModelNotFoundError(`The model ${name} ${state}; "denoise pull ${name}" downloads it`);
}

/** What the program needs and a folder does not have, in words. */
export function whatLacks(directory: string): readonly string[] {
  return neededFiles(filesBelow(directory)).missing;
}

function findAll(repository: Repository, variable: ReadVariable): readonly string[] {
  return modelCaches(variable).flatMap((cache) => findSnapshot(cache, repository) ?? []);
}
