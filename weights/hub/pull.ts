/**
 * Downloads a model from a hub into the program's own cache.
 * @module
 */
import { join } from "@std/path";
import type { ReadVariable } from "../cache_folder.ts";
import { CacheError } from "../errors.ts";
import {
  findWhole,
  hasBlob,
  lockRepository,
  modelCaches,
  nameCommit,
  prepareBlobs,
  prepareSnapshot,
  presentBytes,
  publishSnapshot,
  whatLacks,
} from "./cache.ts";
import { download, type Write } from "./download.ts";
import { type HubFile, type Plan, planDownload } from "./listing.ts";
import { folderName, type Repository } from "./repository.ts";
import { type Hub, hubOf, type Wait, wait } from "./request.ts";

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

export interface PullOptions {
  /** Reads the environment: `HF_ENDPOINT`, `HF_TOKEN` and what says where the caches are. */
  readonly variable: ReadVariable;
  readonly onEvent: (event: PullEvent) => void;
  /** Is given the folder of the configurations before any weights are asked for; what it throws ends the download. */
  readonly check?: (directory: string) => void;
  /** Lets time pass between attempts; default real time. */
  readonly wait?: Wait;
  /** Writes to files; default their own way. */
  readonly write?: Write;
}

export interface Pulled {
  readonly directory: string;
  readonly commit: string;
  readonly bytes: number;
  readonly downloaded: number;
}

/**
 * Downloads what the program needs of a repository, unless a cache has it. Interrupted, it goes on where it was.
 * @throws {RangeError} `HF_ENDPOINT` is not an address, or `HF_TOKEN` not a token
 * @throws {ModelNotFoundError} the hub cannot be reached, or does not give the repository to this user
 * @throws {ModelFileError} it is not a model of diffusers, or a file is not what the hub lists
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
  const files = [...plan.configs, ...plan.weights];
  const bytes = sum(files, ({ size }) => size);
  const cache = ownCache(variable);
  using _lock = await lockRepository(cache, repository.name, () => onEvent({ type: "waiting" }));
  const here = findWhole(repository, variable);
  if (here?.endsWith(commit)) return { directory: here, commit, bytes, downloaded: 0 };

  const folder = join(cache, folderName(repository.name));
  const blobs = join(folder, "blobs");
  const snapshot = join(folder, "snapshots", commit);
  const present = sum(files, (file) => presentBytes(blobs, file));
  if (whatLacks(snapshot).length > 0) {
    prepareBlobs(blobs, files);
    onEvent({ type: "plan", commit, files: files.length, bytes, present, half: plan.half });
    await fetchPlan(hub, plan, { ...options, repository: { ...repository, revision: commit }, blobs, snapshot, bytes });
    prepareSnapshot(snapshot, files);
    publishSnapshot(snapshot);
  }
  nameCommit(join(folder, "refs", ...repository.revision.split("/")), commit);
  return { directory: snapshot, commit, bytes, downloaded: bytes - present };
}

/** Where the files of a plan go, beside what was asked of the download. */
interface Place extends PullOptions {
  /** At the plan's commit. */
  readonly repository: Repository;
  readonly blobs: string;
  readonly snapshot: string;
  readonly bytes: number;
}

/** Downloads what is not here, small files first. */
async function fetchPlan(hub: Hub, { configs, weights }: Plan, place: Place): Promise<void> {
  const { onEvent, write, repository, blobs, bytes: total } = place;
  let before = 0;
  for (const file of [...configs, ...weights]) {
    if (file === weights[0]) checkConfigs(configs, place);
    const onSize = (size: number) => onEvent({ type: "progress", bytes: before + size, total });
    if (hasBlob(blobs, file)) onSize(file.size);
    else await download(hub, { repository, file, path: join(blobs, file.hash), onSize, write });
    before += file.size;
  }
}

/** Lets the caller look at the configurations; a model that it does not want leaves no trace in the list of models. */
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

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
