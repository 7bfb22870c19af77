/**
 * What to download of a repository.
 * @module
 */
import { ModelFileError } from "../errors.ts";
import { isPickle } from "../part.ts";
import type { Hub } from "./hub.ts";
import { type HubFile, listRepository } from "./listing.ts";
import { type NeededFiles, neededFiles } from "./needed_files.ts";
import { type Repository, showRepository } from "./repository.ts";

/** The files that the program needs of a repository. */
export interface Plan {
  /** The commit that the revision stands for. */
  readonly commit: string;
  /** Configurations and tokenizer. */
  readonly configs: readonly HubFile[];
  /** Weights. */
  readonly weights: readonly HubFile[];
  /** Whether the weights are in half precision though there are others. */
  readonly half: boolean;
}

/**
 * Asks the hub what a repository has and chooses.
 * @throws {ModelNotFoundError} the hub cannot be reached, or does not give the repository to this user
 * @throws {ModelFileError} it is no model in the layout of diffusers, or the hub's answer makes no sense
 */
export async function planDownload(hub: Hub, repository: Repository): Promise<Plan> {
  const { commit, paths, describe } = await listRepository(hub, repository);
  const needed = neededFiles(paths);
  if (needed.missing.length > 0) {
    throw new ModelFileError(showRepository(repository), explainMissing(needed, paths));
  }
  return {
    commit,
    configs: await Promise.all(needed.configs.map(describe)),
    weights: await Promise.all(needed.weights.map(describe)),
    half: needed.half,
  };
}

function explainMissing({ missing }: NeededFiles, paths: readonly string[]): string {
  const files = paths.filter((path) => /^[^/]+\.safetensors$/.test(path));
  const single = files.length === 0
    ? ""
    : `; it has single files (${files.join(", ")}), which --model reads by their path`;
  if (missing.includes("model_index.json")) {
    return `the repository is no model in the layout of diffusers, for it has no model_index.json${single}`;
  }
  const folders = new Set(paths.filter(isPickle).map((path) => path.split("/")[0]));
  const pickled = missing.some((path) => folders.has(path.split("/")[0]));
  const reason = pickled ? ", but Python pickles, which can run any program when they are opened and are not read" : "";
  return `the repository has no ${missing.join(", ")}${reason}${single}`;
}
