/**
 * Downloads a model from a hub into the program's own cache.
 * @module
 */
import { join } from "@std/path";
import type { ReadVariable } from "../cache_folder.ts";
import { CacheError } from "../errors.ts";
import { kindOf } from "../files.ts";
import { hasBlob, prepareBlobs, presentBytes } from "./blobs.ts";
import { modelCaches } from "./caches.ts";
import { download } from "./download.ts";
import { findWhole, whatLacks } from "./find.ts";
import { type Hub, hubOf, type Wait, wait } from "./hub.ts";
import { fileAddress, type HubFile, refusal } from "./listing.ts";
import { lockRepository } from "./lock.ts";
import type { Write } from "./partial_file.ts";
import { type Plan, planDownload } from "./plan.ts";
import { folderName, type Repository } from "./repository.ts";
import { nameCommit, prepareSnapshot, publishSnapshot } from "./snapshot.ts";

/** What happens during a {@link pull}. */
export type PullEvent =
  /** The hub at this address is asked what the repository has. */
  | { readonly type: "ask"; readonly endpoint: string }
  /** The download begins: so many files and bytes, so many of them here already, half precision where there was a choice. */
  | {
    readonly type: "plan";
    readonly commit: string;
    readonly files: number;
    readonly bytes: number;
    readonly present: number;
    readonly half: boolean;
  }
  /** Another process downloads the same repository; this one goes on when that has ended. */
  | { readonly type: "waiting" }
  /** So many bytes are here. */
  | { readonly type: "progress"; readonly bytes: number; readonly total: number }
  /** A request failed and is sent again after a pause. */
  | { readonly type: "retry"; readonly reason: string; readonly milliseconds: number };

/** How a {@link pull} goes. */
export interface PullOptions {
  /** Reads the environment: `HF_ENDPOINT`, `HF_TOKEN` and what says where the caches are. */
  readonly variable: ReadVariable;
  /** Is told what happens. */
  readonly onEvent: (event: PullEvent) => void;
  /** Is given the folder of the configurations before any weights are asked for; what it throws ends the download. */
  readonly check?: (directory: string) => void;
  /** Passes time between attempts. */
  readonly wait?: Wait;
  /** Writes to files. */
  readonly write?: Write;
}

/** A model that was downloaded, or was here. */
export interface Pulled {
  /** Where its files are. */
  readonly directory: string;
  /** The commit that its revision stands for. */
  readonly commit: string;
  /** Length of its files in bytes. */
  readonly bytes: number;
  /** How many of them were not here before. */
  readonly downloaded: number;
}

/**
 * Downloads what the program needs of a repository, unless a cache has it. Interrupted, it goes on where it was.
 * @throws {RangeError} `HF_ENDPOINT` is no address
 * @throws {ModelNotFoundError} the hub cannot be reached, or does not give the repository to this user
 * @throws {ModelFileError} it is no model of diffusers, or a file is not what the hub lists
 * @throws {CacheError} the cache cannot be written
 */
export async function pull(repository: Repository, options: PullOptions): Promise<Pulled> {
  const { variable, onEvent } = options;
  const hub: Hub = {
    ...hubOf(variable),
    wait: options.wait ?? wait,
    onRetry: (reason, milliseconds) => onEvent({ type: "retry", reason, milliseconds }),
  };
  onEvent({ type: "ask", endpoint: hub.endpoint });
  const plan = await planDownload(hub, repository);
  const { commit } = plan;
  const bytes = totalSize([...plan.configs, ...plan.weights]);
  const cache = ownCache(variable);
  using _lock = await lockRepository(cache, repository.name, () => onEvent({ type: "waiting" }));
  const here = findWhole(repository, variable);
  if (here?.endsWith(commit)) return { directory: here, commit, bytes, downloaded: 0 };

  const folder = join(cache, folderName(repository.name));
  const blobs = join(folder, "blobs");
  const snapshot = join(folder, "snapshots", commit);
  const present = totalPresent(blobs, plan);
  if (kindOf(snapshot) !== "folder" || whatLacks(snapshot).length > 0) {
    await fetchPlan(hub, plan, { ...options, repository, blobs, snapshot });
    publishSnapshot(snapshot);
  }
  nameCommit(join(folder, "refs", ...repository.revision.split("/")), commit);
  return { directory: snapshot, commit, bytes, downloaded: bytes - present };
}

/** Where the files of a plan go, beside what was asked of the download. */
interface Place extends PullOptions {
  readonly repository: Repository;
  readonly blobs: string;
  readonly snapshot: string;
}

/** Downloads what is not here, small files first, and prepares the snapshot. */
async function fetchPlan(hub: Hub, plan: Plan, place: Place): Promise<void> {
  const { onEvent, blobs, snapshot } = place;
  const { commit, configs, weights, half } = plan;
  const files = [...configs, ...weights];
  const total = totalSize(files);
  prepareBlobs(blobs, files);
  onEvent({ type: "plan", commit, files: files.length, bytes: total, present: totalPresent(blobs, plan), half });
  let before = 0;
  for (const file of files) {
    if (file === weights[0]) checkConfigs(configs, place);
    await fetchFile(file);
    before += file.size;
  }
  prepareSnapshot(snapshot, files);

  async function fetchFile(file: HubFile): Promise<void> {
    const onSize = (size: number) => onEvent({ type: "progress", bytes: before + size, total });
    if (hasBlob(blobs, file)) return onSize(file.size);
    const repository = { ...place.repository, revision: commit };
    await download(hub, {
      address: fileAddress(hub, file.path, repository),
      file,
      path: join(blobs, file.hash),
      refuse: (response) => refusal(hub, repository, response),
      onSize,
      write: place.write,
    });
  }
}

/** Lets the caller look at the configurations; of a model that it does not want no trace is left in the list of models. */
function checkConfigs(configs: readonly HubFile[], { snapshot, check }: Place): void {
  const directory = prepareSnapshot(snapshot, configs);
  try {
    check?.(directory);
  } catch (error) {
    Deno.removeSync(directory, { recursive: true });
    throw error;
  }
}

function ownCache(variable: ReadVariable): string {
  const own = modelCaches(variable).find(({ owner }) => owner === "denoise");
  if (own !== undefined) return own.folder;
  throw new CacheError("a cache", new Error("neither XDG_CACHE_HOME nor HOME says where it is"));
}

function totalPresent(blobs: string, { configs, weights }: Plan): number {
  return [...configs, ...weights].reduce((sum, file) => sum + presentBytes(blobs, file), 0);
}

function totalSize(files: readonly HubFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}
