/**
 * A hub: where it is, who asks, and what is told of the conversation.
 * @module
 */
import type { ReadVariable } from "../cache_folder.ts";

/** Ends when the milliseconds have passed, and never once `signal` is aborted. */
export type Wait = (milliseconds: number, signal?: AbortSignal) => Promise<void>;

/** A server that speaks as Hugging Face's. */
export interface Hub {
  /** Its address, without a slash at the end. */
  readonly endpoint: string;
  /** Goes with requests to the endpoint's own host, and to no other. */
  readonly token?: string;
  /** Passes time. */
  readonly wait: Wait;
  /** Is told that a request is sent again, and why. */
  readonly onRetry: (reason: string, milliseconds: number) => void;
}

/** The public hub. */
const PUBLIC = "https://huggingface.co";

/**
 * The hub that the environment names, by `HF_ENDPOINT` and `HF_TOKEN` as for `huggingface_hub`.
 * @throws {RangeError} `HF_ENDPOINT` is no address
 */
export function hubOf(variable: ReadVariable): Pick<Hub, "endpoint" | "token"> {
  const endpoint = (variable("HF_ENDPOINT") || PUBLIC).replace(/\/+$/, "");
  const token = variable("HF_TOKEN")?.trim();
  if (!/^https?:$/.test(URL.parse(endpoint)?.protocol ?? "")) {
    throw new RangeError(`HF_ENDPOINT is ${JSON.stringify(endpoint)}, not an address that begins with https://`);
  }
  return { endpoint, ...(token ? { token } : {}) };
}

/** Passes real time. */
export function wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => clearTimeout(timer));
  });
}
