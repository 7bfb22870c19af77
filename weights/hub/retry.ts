/**
 * Trying again, a bounded number of times.
 * @module
 */
import { ModelNotFoundError } from "../errors.ts";
import type { Hub } from "./hub.ts";

/** How often one request is sent again while nothing is gained. */
const RETRIES = 5;
/** The wait before the first retry; each further one is twice as long. */
const FIRST_WAIT = 1_000;
/** The longest wait that a hub can ask for. */
const LONGEST_WAIT = 300_000;

/** A failure that may pass: the connection broke, or the hub is busy. */
export class PassingError extends Error {
  /** Milliseconds after which the hub wants to be asked again, if it said so. */
  readonly retryAfter: number | undefined;

  /** Says what failed. */
  constructor(message: string, options: ErrorOptions & { readonly retryAfter?: number | undefined } = {}) {
    super(message, options);
    this.retryAfter = options.retryAfter;
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
