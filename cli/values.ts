/**
 * Readers of option values: text in, value out, or a RangeError that says
 * what must be and what was given.
 * @module
 */
import { suggest } from "./suggestion.ts";

/** Any text, kept as it is. */
export function text(value: string): string {
  return value;
}

/** A whole number from `min` to `max`. */
export function wholeNumber(
  min: number,
  max: number,
): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (/^\d+$/.test(value) && number >= min && number <= max) return number;
    throw new RangeError(
      `must be a whole number from ${min} to ${max}, got ${quote(value)}`,
    );
  };
}

/** A side of the picture in pixels; the VAE makes 8 of one latent pixel. */
export function size(value: string): number {
  const number = Number(value);
  const inRange = number >= 64 && number <= 4096;
  if (/^\d+$/.test(value) && inRange && number % 8 === 0) return number;
  throw new RangeError(
    `must be a multiple of 8 from 64 to 4096, got ${quote(value)}`,
  );
}

/** A finite number, 0 or more. */
export function finiteNumber(value: string): number {
  const number = Number(value);
  if (/^\d+(\.\d+)?(e[+-]?\d+)?$/.test(value) && Number.isFinite(number)) return number;
  throw new RangeError(
    `must be a finite number, 0 or more, got ${quote(value)}`,
  );
}

/** A share of a whole, not nothing. */
export function share(value: string): number {
  const number = Number(value);
  if (/^\d*\.?\d+$/.test(value) && number > 0 && number <= 1) return number;
  throw new RangeError(`must be a number above 0, up to 1, got ${quote(value)}`);
}

/** A seed takes 64 bits, more than a number holds exactly. */
export function seed(value: string): bigint {
  const last = 2n ** 64n - 1n;
  if (/^\d+$/.test(value) && BigInt(value) <= last) return BigInt(value);
  throw new RangeError(
    `must be a whole number from 0 to ${last}, got ${quote(value)}`,
  );
}

/** A part of a batch, counted from 1. */
export interface Shard {
  /** Which part. */
  readonly number: number;
  /** Of how many. */
  readonly of: number;
}

/** A part of a batch: `2/4`. */
export function shard(value: string): Shard {
  const [number = 0, of = 0] = (/^(\d+)\/(\d+)$/.exec(value)?.slice(1) ?? []).map(Number);
  if (number >= 1 && number <= of && Number.isSafeInteger(of)) return { number, of };
  throw new RangeError(`must be I/N with I from 1 to N, such as 2/4, got ${quote(value)}`);
}

/** A share of a whole, which may be nothing or all. */
export function fraction(value: string): number {
  const number = Number(value);
  if (/^\d*\.?\d+$/.test(value) && number <= 1) return number;
  throw new RangeError(`must be a number from 0 to 1, got ${quote(value)}`);
}

/** What an option has that takes a name. */
export interface Choice<Name extends string> {
  /** The names. */
  readonly choices: readonly Name[];
  /** Their reader. */
  readonly read: (value: string) => Name;
}

/** One of `choices`. */
export function oneOf<Name extends string>(...choices: readonly Name[]): Choice<Name> {
  return foundIn(choices, (value) => choices.find((known) => known === value));
}

/** One of `choices`, or another name for which `find` knows one. */
export function foundIn<Name extends string>(
  choices: readonly Name[],
  find: (value: string) => Name | undefined,
): Choice<Name> {
  const read = (value: string) => {
    const name = find(value);
    if (name !== undefined) return name;
    const meant = suggest(value, choices);
    throw new RangeError(
      `must be ${choices.length > 1 ? "one of " : ""}${choices.join(", ")}, got ${quote(value)}${
        meant === undefined ? "" : `: did you mean ${meant}?`
      }`,
    );
  };
  return { choices, read };
}

function quote(value: string): string {
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
}
