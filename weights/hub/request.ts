/**
 * Requests to a hub: through its redirects, and again when one fails for a while.
 * @module
 */
import type { ReadVariable } from "../cache_folder.ts";
import { ModelNotFoundError } from "../errors.ts";
import { type Repository, showRepository } from "./repository.ts";

/** Ends when the milliseconds have passed, and never once `signal` is aborted. */
export type Wait = (milliseconds: number, signal?: AbortSignal) => Promise<void>;

/** A server that speaks as Hugging Face's. */
export interface Hub {
  /** Its address, without a slash at the end and without a user's name and password: messages say it. */
  readonly endpoint: string;
  /** Is sent to the endpoint's own host, and to no other. */
  readonly authorization?: string;
  /** Whether that is of a token. */
  readonly hasToken: boolean;
  readonly wait: Wait;
  /** Is told that a request is sent again, and why. */
  readonly onRetry: (reason: string, milliseconds: number) => void;
}

/** How long a server may be silent, in milliseconds. */
export const SILENCE = 30_000;

const PUBLIC = "https://huggingface.co";
const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
const MOST_REDIRECTS = 5;
/** Statuses that may be another one next time. */
const PASSING: readonly number[] = [408, 425, 429, 500, 502, 503, 504];
/** How often one request is sent again while it brings nothing. */
const RETRIES = 5;
/** Milliseconds before the first retry; each further wait is twice as long. */
const FIRST_WAIT = 1_000;
/** The longest wait that a hub can ask for, in milliseconds. */
const LONGEST_WAIT = 300_000;

/**
 * The hub that the environment names, by `HF_ENDPOINT` and `HF_TOKEN` as for `huggingface_hub`. A name and a password
 * in the address go before the token, which is meant for another hub.
 * @throws {RangeError} `HF_ENDPOINT` is not an address, or `HF_TOKEN` not a token; neither secret is repeated
 */
export function hubOf(variable: ReadVariable): Pick<Hub, "endpoint" | "authorization" | "hasToken"> {
  const given = variable("HF_ENDPOINT") || PUBLIC;
  const url = URL.parse(given);
  if (url === null || !/^https?:$/.test(url.protocol) || url.search || url.hash) {
    const shown = JSON.stringify(given.replace(/.*@/s, "***@").replace(/[?#].*/s, "?..."));
    throw new RangeError(`HF_ENDPOINT is ${shown}, not an address that begins with https:// and ends with a path`);
  }
  const { username, password } = url;
  [url.username, url.password] = ["", ""];
  const endpoint = url.href.replace(/\/+$/, "");
  const token = variable("HF_TOKEN")?.trim() ?? "";
  if (!/^[!-~]*$/.test(token)) {
    throw new RangeError("HF_TOKEN has a line break or another character that no token has: copy the token again");
  }
  if (username || password) {
    const bytes = `${username}:${password}`.replace(
      /%([0-9a-f]{2})/gi,
      (_, byte) => String.fromCharCode(parseInt(byte, 16)),
    );
    return { endpoint, authorization: `Basic ${btoa(bytes)}`, hasToken: false };
  }
  return { endpoint, ...(token && { authorization: `Bearer ${token}` }), hasToken: token !== "" };
}

export function wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => clearTimeout(timer));
  });
}

/** A failure that may pass: the connection broke, or the hub is busy. */
export class PassingError extends Error {
  /** @param retryAfter milliseconds after which the hub wants to be asked again, if it said so */
  constructor(message: string, options?: ErrorOptions, readonly retryAfter?: number) {
    super(message, options);
  }
}

/**
 * What `attempt` returns, once it does not fail with a {@link PassingError}.
 * @param gained whether the failed attempt brought something, so that patience begins anew
 * @throws {ModelNotFoundError} it failed too often, or the hub asks for a wait that is too long
 */
export async function retrying<T>(
  hub: Hub,
  attempt: () => Promise<T>,
  gained: () => boolean = () => false,
): Promise<T> {
  for (let failures = 0;;) {
    try {
      return await attempt();
    } catch (cause) {
      if (!(cause instanceof PassingError)) throw cause;
      failures = gained() ? 1 : failures + 1;
      const pause = cause.retryAfter ?? FIRST_WAIT * 2 ** (failures - 1);
      if (failures > RETRIES) {
        throw new ModelNotFoundError(`${cause.message}; it failed ${failures} times`, { cause });
      }
      if (pause > LONGEST_WAIT) {
        throw new ModelNotFoundError(`${cause.message}; it wants to be asked again in ${pause / 1000} s`, { cause });
      }
      hub.onRetry(cause.message, pause);
      await hub.wait(pause);
    }
  }
}

/** An answer other than a refusal. */
export interface Answer {
  readonly response: Response;
  /** SHA-256, or Git's SHA-1 of a file that is not in LFS, if the hub itself says it. */
  readonly hash?: string;
  /** The file's length in bytes, if the hub itself says it. */
  readonly size?: number;
}

/** What is asked, and what is made of the answer. */
export interface Question<T> {
  readonly address: string;
  /** What the address is of. */
  readonly repository: Repository;
  /** Default `GET`. */
  readonly method?: "GET" | "HEAD";
  /** The first byte that is wanted; default 0. */
  readonly from?: number;
  /** Reads the answer; the connection ends with it. */
  readonly read: (answer: Answer) => T | Promise<T>;
}

/**
 * Asks the hub and returns what `read` makes of the answer. 416 is an answer: it says that the range is not there.
 * @throws {PassingError} there was no answer, or one that may be another next time
 * @throws {ModelNotFoundError} the hub redirects to where this cannot follow, or where nobody answers
 */
export async function request<T>(hub: Hub, question: Question<T>): Promise<T> {
  const abort = new AbortController();
  try {
    return await question.read(await ask(hub, question, abort.signal));
  } finally {
    abort.abort();
  }
}

async function ask<T>(hub: Hub, question: Question<T>, signal: AbortSignal): Promise<Answer> {
  let url = new URL(question.address);
  let said: Omit<Answer, "response"> = {};
  for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
    const response = await unlessSilent(hub, url.host, fetch(url, requestInit(hub, url, { ...question, signal })));
    if (isOwn(hub, url)) said = { ...linked(response.headers), ...said };
    if (!REDIRECTS.includes(response.status)) {
      if (response.ok || response.status === 416) return { response, ...said };
      throw refusal(hub, url, question.repository, response);
    }
    url = follow(url, response.headers.get("location"));
  }
  throw new ModelNotFoundError(`${question.address} is redirected more than ${MOST_REDIRECTS} times`);
}

function requestInit(
  hub: Hub,
  url: URL,
  { method = "GET", from = 0, signal }: Pick<Question<unknown>, "method" | "from"> & { readonly signal: AbortSignal },
): RequestInit {
  const headers = new Headers({ "accept-encoding": "identity" });
  if (hub.authorization !== undefined && isOwn(hub, url)) headers.set("authorization", hub.authorization);
  if (from > 0) headers.set("range", `bytes=${from}-`);
  return { method, headers, redirect: "manual", signal };
}

/** Whether secrets may be sent there. */
function isOwn({ endpoint }: Hub, { origin }: URL): boolean {
  return new URL(endpoint).origin === origin;
}

function follow(url: URL, location: string | null): URL {
  const next = location === null ? null : URL.parse(location, url);
  if (next === null) {
    throw new ModelNotFoundError(
      `${url.host} redirects to ${location === null ? "nowhere" : "what is not an address"}`,
    );
  }
  if (next.protocol === "https:" || next.protocol === url.protocol) return next;
  throw new ModelNotFoundError(`${url.host} redirects to ${next.protocol}//${next.host}, away from ${url.protocol}`);
}

/** What the hub says of a file that lies elsewhere. */
function linked(headers: Headers): Omit<Answer, "response"> {
  const tag = headers.get("x-linked-etag") ?? headers.get("etag") ?? "";
  const hash = /^(?:W\/)?"?([0-9a-f]{64}|[0-9a-f]{40})"?$/.exec(tag)?.[1];
  const size = headers.get("x-linked-size");
  return { ...(hash === undefined ? {} : { hash }), ...(size === null ? {} : { size: Number(size) }) };
}

/** Why there is nothing of a repository at `url`, the hub's own or elsewhere. */
function refusal(hub: Hub, url: URL, repository: Repository, { status, headers }: Response): Error {
  if (PASSING.includes(status)) {
    return new PassingError(`${url.host} answers ${status}`, {}, readDelay(headers.get("retry-after")));
  }
  if (!isOwn(hub, url)) {
    return new ModelNotFoundError(`${url.host}, to which the hub redirects, answers ${status}`);
  }
  const { name, revision } = repository;
  const code = headers.get("x-error-code");
  const page = `${hub.endpoint}/${name}`;
  const shown = showRepository(repository);
  if (code === "GatedRepo") {
    const token = !hub.hasToken
      ? `then set HF_TOKEN to a token made at ${hub.endpoint}/settings/tokens`
      : "the token in HF_TOKEN must be of the user who did";
    return new ModelNotFoundError(`${name} is gated: accept its conditions at ${page}; ${token}`);
  }
  if (code === "RevisionNotFound") {
    return new ModelNotFoundError(`${name} has no revision ${revision}; ${page}/tree/main lists its branches and tags`);
  }
  if (status === 401 || status === 403 || status === 404) {
    const token = !hub.hasToken
      ? "if it is private, set HF_TOKEN to a token that may read it"
      : "the token in HF_TOKEN is wrong or may not read it, if the name is right";
    return new ModelNotFoundError(`${hub.endpoint} does not give ${shown} (${status}); ${token}`);
  }
  return new ModelNotFoundError(`${hub.endpoint} refuses ${shown} with status ${status}`);
}

/** Milliseconds of a Retry-After header: seconds, or a date. */
function readDelay(value: string | null): number | undefined {
  if (value === null) return undefined;
  const delay = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(delay) ? undefined : Math.max(0, delay);
}

/** The result of `work`, which waits for the network: its failure and long silence are PassingErrors. */
export async function unlessSilent<T>(hub: Hub, host: string, work: Promise<T>): Promise<T> {
  const timer = new AbortController();
  const silence = hub.wait(SILENCE, timer.signal).then(() => {
    throw new PassingError(`${host} has been silent for ${SILENCE / 1000} s`);
  });
  try {
    return await Promise.race([work, silence]);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    const { message } = cause.cause instanceof Error ? cause.cause : cause;
    // Deno's sentence has the whole address, which may hold a signature.
    const reason = message.replace(/^.*\): /s, "").replace(/\bhttps?:\S*/gi, "its address");
    throw new PassingError(`The connection to ${host} failed (${reason})`, { cause });
  } finally {
    timer.abort();
  }
}
