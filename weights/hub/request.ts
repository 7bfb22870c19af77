/**
 * One request to a hub, through its redirects.
 * @module
 */
import { ModelNotFoundError } from "../errors.ts";
import type { Hub } from "./hub.ts";
import { PassingError } from "./retry.ts";

/** How long a server may be silent. */
export const SILENCE = 30_000;

const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
const MOST_REDIRECTS = 5;
/** Answers that another time may not be given. */
const PASSING: readonly number[] = [408, 425, 429, 500, 502, 503, 504];

/** An answer other than a refusal. */
export interface Answer {
  /** The last response. */
  readonly response: Response;
  /** The file's hash, where the hub itself says it: SHA-256, or Git's SHA-1 of what is not in LFS. */
  readonly hash?: string;
  /** The file's length in bytes, where the hub itself says it. */
  readonly size?: number;
}

/** What is asked, and what is made of the answer. */
export interface Question<T> {
  /** Where it begins. */
  readonly address: string;
  /** Default `GET`. */
  readonly method?: "GET" | "HEAD";
  /** The first byte that is wanted, when not all are. */
  readonly from?: number;
  /** The error for a status of the hub's own that will not pass. */
  readonly refuse: (response: Response) => Error;
  /** Reads the answer, with which the connection ends. */
  readonly read: (answer: Answer) => T | Promise<T>;
}

/**
 * Asks the hub and returns what `read` makes of the answer. 416 is an answer: it says that the range is not there.
 * @throws {PassingError} there was no answer, or one that another time may not be given
 * @throws {ModelNotFoundError} the hub sends elsewhere in a way that cannot be followed, or nobody answers there
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
      checkStatus(response, isOwn(hub, url) ? question.refuse : refuseElsewhere);
      return { response, ...said };
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
  if (hub.token !== undefined && isOwn(hub, url)) headers.set("authorization", `Bearer ${hub.token}`);
  if (from > 0) headers.set("range", `bytes=${from}-`);
  return { method, headers, redirect: "manual", signal };
}

/** Whether the token may be sent there. */
function isOwn({ endpoint }: Hub, { origin }: URL): boolean {
  return new URL(endpoint).origin === origin;
}

function follow(url: URL, location: string | null): URL {
  const next = location === null ? null : URL.parse(location, url);
  if (next === null) throw new ModelNotFoundError(`${url.host} redirects to ${location ?? "nowhere"}`);
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

function checkStatus(response: Response, refuse: (response: Response) => Error): void {
  const { ok, status, headers, url } = response;
  if (ok || status === 416) return;
  if (!PASSING.includes(status)) throw refuse(response);
  throw new PassingError(`${new URL(url).host} answers ${status}`, {
    retryAfter: readDelay(headers.get("retry-after")),
  });
}

function refuseElsewhere({ status, url }: Response): Error {
  return new ModelNotFoundError(`${new URL(url).host}, to which the hub redirects, answers ${status}`);
}

/** Milliseconds of a Retry-After header: seconds, or a date. */
function readDelay(value: string | null): number | undefined {
  if (value === null) return undefined;
  const delay = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(delay) ? undefined : Math.max(0, delay);
}

/**
 * The result of `work`, which is the network's.
 * @throws {PassingError} the network failed, or there was silence for too long
 */
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
    // Deno's sentence begins with the whole address, which may hold a signature.
    const reason = message.replace(/^.*\): /s, "");
    throw new PassingError(`The connection to ${host} failed (${reason})`, { cause });
  } finally {
    timer.abort();
  }
}
