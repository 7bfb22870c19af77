/**
 * What a repository holds, as its hub lists it.
 * @module
 */
import { ModelFileError, ModelNotFoundError } from "../errors.ts";
import { isObject, type JsonObject, shown } from "../json.ts";
import { isCommit } from "./caches.ts";
import type { Hub } from "./hub.ts";
import { type Repository, showRepository } from "./repository.ts";
import { type Answer, request, unlessSilent } from "./request.ts";
import { retrying } from "./retry.ts";

/** A file of a repository. */
export interface HubFile {
  /** Where it is in the repository. */
  readonly path: string;
  /** Its length in bytes. */
  readonly size: number;
  /** SHA-256 of a file in LFS; Git's SHA-1, of 40 digits, of another. */
  readonly hash: string;
}

/** A repository at one commit. */
export interface Listing {
  /** The commit that the revision stands for. */
  readonly commit: string;
  /** Paths of all files. */
  readonly paths: readonly string[];
  /**
   * What is known of one of the files; asks the hub where the list did not say it.
   * @throws {ModelFileError} the hub does not say it either
   */
  describe(path: string): Promise<HubFile>;
}

/**
 * Asks a hub for the files of a repository.
 * @throws {ModelNotFoundError} the hub cannot be reached, or does not give the repository to this user
 * @throws {ModelFileError} the answer makes no sense
 */
export async function listRepository(hub: Hub, repository: Repository): Promise<Listing> {
  const { name, revision } = repository;
  const address = `${hub.endpoint}/api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const document = await retrying(hub, () => readDocument(hub, address, repository));
  const { sha: commit, siblings } = isObject(document) ? document : {};
  if (typeof commit !== "string" || !isCommit(commit) || !Array.isArray(siblings)) {
    throw new ModelFileError(address, `the hub answers ${shown(document)} without a commit and a list of files`);
  }
  const known = new Map(siblings.flatMap((entry) => {
    const path = isObject(entry) ? entry.rfilename : undefined;
    return typeof path === "string" ? [[path, readFile(path, entry)]] : [];
  }));
  return {
    commit,
    paths: Array.from(known.keys()),
    describe: async (path) => known.get(path) ?? await askFor(hub, path, { ...repository, revision: commit }),
  };
}

/** The address of a file's content. */
export function fileAddress({ endpoint }: Hub, path: string, { name, revision }: Repository): string {
  return `${endpoint}/${name}/resolve/${revision}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/** Why a hub does not give a repository, or a file of it. */
export function refusal(hub: Hub, repository: Repository, { status, headers }: Response): Error {
  const { name, revision } = repository;
  const code = headers.get("x-error-code");
  const page = `${hub.endpoint}/${name}`;
  const shown = showRepository(repository);
  if (code === "GatedRepo") {
    const token = hub.token === undefined
      ? `then set HF_TOKEN to a token made at ${hub.endpoint}/settings/tokens`
      : "the token in HF_TOKEN must be of the user who did";
    return new ModelNotFoundError(`${name} is gated: accept its conditions at ${page}; ${token}`);
  }
  if (code === "RevisionNotFound") {
    return new ModelNotFoundError(`${name} has no revision ${revision}; ${page}/tree/main lists its branches and tags`);
  }
  if (status === 401 || status === 403 || status === 404) {
    const token = hub.token === undefined
      ? "if it is private, set HF_TOKEN to a token that may read it"
      : "the token in HF_TOKEN is wrong or may not read it, if the name is right";
    return new ModelNotFoundError(`${hub.endpoint} gives no ${shown} (${status}); ${token}`);
  }
  return new ModelNotFoundError(`${hub.endpoint} refuses ${shown} with status ${status}`);
}

function readDocument(hub: Hub, address: string, repository: Repository): Promise<unknown> {
  return request(hub, {
    address,
    refuse: (response) => refusal(hub, repository, response),
    read: async ({ response }) => {
      const text = await unlessSilent(hub, new URL(response.url).host, response.text());
      try {
        return JSON.parse(text);
      } catch (cause) {
        throw new ModelFileError(address, "the hub's answer is not JSON", { cause });
      }
    },
  });
}

/** A file as the list describes it; undefined where it says too little. */
function readFile(path: string, { blobId, size, lfs }: JsonObject): HubFile | undefined {
  const hash = isObject(lfs) ? lfs.sha256 : blobId;
  return isSize(size) && isHash(hash) ? { path, size, hash } : undefined;
}

function askFor(hub: Hub, path: string, repository: Repository): Promise<HubFile> {
  const address = fileAddress(hub, path, repository);
  const read = ({ response, hash, size = Number(response.headers.get("content-length") ?? NaN) }: Answer) => {
    if (isSize(size) && isHash(hash)) return { path, size, hash };
    throw new ModelFileError(address, "the hub does not say the length and the hash of this file");
  };
  const refuse = (response: Response) => refusal(hub, repository, response);
  return retrying(hub, () => request(hub, { address, method: "HEAD", refuse, read }));
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0;
}

function isHash(value: unknown): value is string {
  return typeof value === "string" && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(value);
}
