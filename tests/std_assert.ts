/**
 * The part of `@std/assert` that the tests use, behind `node:assert`: JSR is not reachable everywhere this project
 * is built. To use the real one, point `@std/assert` in deno.json at `jsr:@std/assert` and delete this file.
 * @module
 */
import { deepStrictEqual, ok } from "node:assert/strict";

/** Fails unless `condition` holds. */
export function assert(condition: unknown, message?: string): asserts condition {
  ok(condition, message);
}

/** Fails unless the two values are deeply, strictly equal. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  deepStrictEqual(actual, expected, message);
}

/** Fails unless `actual` is within `tolerance` of `expected`. */
export function assertAlmostEquals(actual: number, expected: number, tolerance = 1e-7, message?: string): void {
  ok(
    Math.abs(actual - expected) <= tolerance,
    message ?? `Got ${actual}, want ${expected} within ${tolerance}`,
  );
}

/** Fails unless `text` contains `part`. */
export function assertStringIncludes(text: string, part: string, message?: string): void {
  ok(text.includes(part), message ?? `Expected ${JSON.stringify(text)} to contain ${JSON.stringify(part)}`);
}

// deno-lint-ignore no-explicit-any
type ErrorClass<E> = abstract new (...args: any[]) => E;

function assertError<E extends Error>(error: unknown, kind: ErrorClass<E>, part: string): E {
  ok(error instanceof kind, `Expected ${kind.name}, got ${error}`);
  assertStringIncludes(error.message, part);
  return error;
}

/** Fails unless `run` throws an error of `kind` whose message contains `part`; returns the error. */
export function assertThrows<E extends Error>(run: () => unknown, kind: ErrorClass<E>, part = ""): E {
  try {
    run();
  } catch (error) {
    return assertError(error, kind, part);
  }
  throw new Error(`Expected ${kind.name} to be thrown`);
}

/** Fails unless the promise of `run` rejects with an error of `kind` whose message contains `part`. */
export async function assertRejects<E extends Error>(
  run: () => PromiseLike<unknown>,
  kind: ErrorClass<E>,
  part = "",
): Promise<E> {
  try {
    await run();
  } catch (error) {
    return assertError(error, kind, part);
  }
  throw new Error(`Expected ${kind.name} to be thrown`);
}
