/**
 * What a repository holds, as its hub lists it, and what of that the program needs.
 * @module
 */
import { ModelFileError } from "../errors.ts";
import { parseJson } from "../files.ts";
import { isObject, type JsonObject, shown } from "../json.ts";
import { LIMITS } from "../limits.ts";
import { partEntry, type PartName, partsWith } from "../manifest.ts";
import { isPickle } from "../pickle.ts";
import { TOKENIZER_FILES } from "../tokenizer_files.ts";
import { isCommit, type Repository, showRepository } from "./repository.ts";
import { type Answer, type Hub, request, retrying, unlessSilent } from "./request.ts";

export interface Needed<File> {
  /** Configurations and tokenizer, which are small. */
  readonly configs: readonly File[];
  readonly weights: readonly File[];
  /** Whether weights in half precision were chosen from two precisions. */
  readonly half: boolean;
}

/** Chooses from the paths of a model's files; of weights in two precisions the half one, half the download. */
export function neededFiles(paths: readonly string[]): Needed<string> & {
  /** What is needed and not there, in words; empty for a whole model. */
  readonly missing: readonly string[];
} {
  const own = partsIn(paths);
  const required = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    ...own.map((part) => `${part}/config.json`),
  ];
  const stems = own.map((part) => `${part}/${partEntry(part).stem}`);
  const there = new Set(paths);
  const tokenizers = own.flatMap((part) => partEntry(part).tokenizer ?? []);
  const optional = [
    "denoise.json",
    ...tokenizers.flatMap((folder) => TOKENIZER_FILES.map((name) => `${folder}/${name}`)),
  ];
  const unreadable = tokenizers.filter((folder) =>
    !there.has(`${folder}/tokenizer.json`) &&
    !(there.has(`${folder}/vocab.json`) && there.has(`${folder}/merges.txt`))
  );
  const parts = stems.map((stem) => ({
    stem,
    half: findWeights(paths, stem, true),
    full: findWeights(paths, stem, false),
  }));
  return {
    configs: [...required, ...optional].filter((path) => there.has(path)),
    weights: parts.flatMap(({ half, full }) => half ?? full ?? []),
    half: parts.some(({ half, full }) => half !== undefined && full !== undefined),
    missing: [
      ...required.filter((path) => !there.has(path)),
      ...unreadable.map((folder) => `${folder}/vocab.json and merges.txt`),
      ...parts.filter(({ half, full }) => half === undefined && full === undefined)
        .map(({ stem }) => `${stem}.safetensors`),
    ],
  };
}

function partsIn(paths: readonly string[]): readonly PartName[] {
  return partsWith((part) => paths.some((path) => path.startsWith(`${part}/`)));
}

/** One file, or an index and all of its shards; diffusers has written two names for shards in half precision. */
function findWeights(paths: readonly string[], stem: string, half: boolean): readonly string[] | undefined {
  const single = `${stem}${half ? ".fp16" : ""}.safetensors`;
  if (paths.includes(single)) return [single];
  const index = `${stem}.safetensors.index${half ? ".fp16" : ""}.json`;
  if (!paths.includes(index)) return undefined;
  const shards = paths.filter((path) => {
    const name = path.startsWith(stem) ? path.slice(stem.length) : "";
    return half
      ? /^(?:\.fp16-\d{5}-of-\d{5}|-\d{5}-of-\d{5}\.fp16)\.safetensors$/.test(name)
      : /^-\d{5}-of-\d{5}\.safetensors$/.test(name);
  });
  const count = Number(/-of-(\d{5})/.exec(shards[0] ?? "")?.[1]);
  return shards.length === count ? [index, ...shards] : undefined;
}

export interface Plan extends Needed<HubFile> {
  readonly commit: string;
}

export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a file in LFS; Git's SHA-1, of 40 digits, of another. */
  readonly hash: string;
}

/** Asks the hub what a repository has and chooses; a repository that is not a whole model is a ModelFileError. */
export async function planDownload(hub: Hub, repository: Repository): Promise<Plan> {
  const { commit, files } = await listRepository(hub, repository);
  const paths = Array.from(files.keys());
  const { configs, weights, half, missing } = neededFiles(paths);
  if (missing.length > 0) throw new ModelFileError(showRepository(repository), explainMissing(missing, paths));
  // What the list does not say is asked of the file.
  const describe = async (path: string) =>
    files.get(path) ?? await askFor(hub, path, { ...repository, revision: commit });
  const most = partsIn(paths).length * (1 + LIMITS.shards);
  if (weights.length > most) {
    throw new ModelFileError(
      showRepository(repository),
      `its weights are ${weights.length} files; at most ${most} are read`,
    );
  }
  const plan = {
    commit,
    configs: await Promise.all(configs.map(describe)),
    weights: await Promise.all(weights.map(describe)),
    half,
  };
  [...plan.configs, ...plan.weights].forEach(checkLength);
  return plan;
}

/** Refuses what would not be read once it is here. */
function checkLength({ path, size }: HubFile): void {
  const most = path.endsWith(".safetensors")
    ? Infinity
    : path.startsWith("tokenizer")
    ? LIMITS.tokenizerBytes
    : LIMITS.jsonBytes;
  if (size > most) throw new ModelFileError(path, `the hub lists it with ${size} bytes; at most ${most} are read`);
}

function explainMissing(missing: readonly string[], paths: readonly string[]): string {
  const files = paths.filter((path) => /^[\w.-]{1,100}\.safetensors$/.test(path));
  const named = files.slice(0, 3).join(", ") + (files.length > 3 ? `, and ${files.length - 3} more` : "");
  const single = files.length === 0 ? "" : `; it has single files (${named}), which --model reads by their path`;
  if (missing.includes("model_index.json")) {
    return `the repository is not a model in the layout of diffusers: it has no model_index.json${single}`;
  }
  const folders = new Set(paths.filter(isPickle).map((path) => path.split("/")[0]));
  const pickled = missing.some((path) => folders.has(path.split("/")[0]));
  const reason = pickled ? ", but Python pickles, which can run any program when they are opened and are not read" : "";
  return `the repository has no ${missing.join(", ")}${reason}${single}`;
}

/** The commit of a revision, and all of its files by path; undefined where the list says too little of one. */
async function listRepository(hub: Hub, repository: Repository): Promise<{
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile | undefined>;
}> {
  const { name, revision } = repository;
  const address = `${hub.endpoint}/api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const document: unknown = await retrying(hub, () =>
    request(hub, {
      address,
      repository,
      read: async ({ response }) => {
        const text = await unlessSilent(hub, new URL(response.url).host, readList(response, address));
        return parseJson(address, text, "the hub's answer");
      },
    }));
  const { sha: commit, siblings } = isObject(document) ? document : {};
  if (typeof commit !== "string" || !isCommit(commit) || !Array.isArray(siblings)) {
    throw new ModelFileError(address, `the hub answers ${shown(document)} without a commit and a list of files`);
  }
  if (siblings.length > LIMITS.repositoryFiles) {
    throw new ModelFileError(
      address,
      `the hub lists ${siblings.length} files; at most ${LIMITS.repositoryFiles} are read`,
    );
  }
  const files = siblings.flatMap((entry) => {
    const path = isObject(entry) ? entry.rfilename : undefined;
    return typeof path === "string" ? [[path, readFile(path, entry)] as const] : [];
  });
  return { commit, files: new Map(files) };
}

/** The text of an answer that need not end. */
async function readList({ body }: Response, address: string): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ["", 0];
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > LIMITS.jsonBytes) {
      throw new ModelFileError(address, `the hub's answer has more than the ${LIMITS.jsonBytes} bytes that are read`);
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

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
  return retrying(hub, () => request(hub, { address, repository, method: "HEAD", read }));
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0;
}

function isHash(value: unknown): value is string {
  return typeof value === "string" && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(value);
}

export function fileAddress({ endpoint }: Hub, path: string, { name, revision }: Repository): string {
  return `${endpoint}/${name}/resolve/${revision}/${path.split("/").map(encodeURIComponent).join("/")}`;
}
