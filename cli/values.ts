/**
 * Readers of option values: text in, value out, or a RangeError that says what must be and what was given.
 * @module
 */
import { LIMITS } from "../pipeline/limits.ts";
import type { Thresholds } from "../pipeline/request.ts";
import { stemOf } from "./added_files.ts";
import { suggest } from "./suggestion.ts";

type Reader<Value> = (value: string) => Value;

const DIGITS = /^\d+$/;
const DECIMAL = /^(?:\d+(?:\.\d+)?|\.\d+)$/;

/** The name of a file, a folder or a model. */
export function name(value: string): string {
  if (value.length <= LIMITS.nameLetters) return value;
  throw new RangeError(`must have at most ${LIMITS.nameLetters} letters, got ${value.length}`);
}

export function promptText(value: string): string {
  // No letter has more than three bytes.
  const bytes = 3 * value.length <= LIMITS.promptBytes ? 0 : new TextEncoder().encode(value).length;
  if (bytes <= LIMITS.promptBytes) return value;
  throw new RangeError(`must have at most ${LIMITS.promptBytes} bytes, got ${bytes}`);
}

export function wholeNumber(min: number, max: number): Reader<number> {
  return number(DIGITS, (value) => value >= min && value <= max, `a whole number from ${min} to ${max}`);
}

/** A side of the picture in pixels; the VAE makes 8 of one latent pixel. */
export const size = number(
  DIGITS,
  (side) => side >= 64 && side <= 4096 && side % 8 === 0,
  "a multiple of 8 from 64 to 4096",
);

export const finiteNumber = number(/^\d+(\.\d+)?(e[+-]?\d+)?$/, Number.isFinite, "a finite number, 0 or more");

/** GiB of memory as bytes. */
export function gibibytes(value: string): number {
  return Math.floor(
    2 ** 30 * number(DECIMAL, (count) => count >= 0.1 && count <= 1024, "a number from 0.1 to 1024")(value),
  );
}

/** A share of a whole, not nothing. */
export const share = number(DECIMAL, (value) => value > 0 && value <= 1, "a number above 0, up to 1");

/** A share of a whole, which may be nothing or all. */
export const fraction = number(DECIMAL, (value) => value <= 1, "a number from 0 to 1");

/** How much of a ControlNet. */
export const controlStrength = number(
  DECIMAL,
  (value) => value <= LIMITS.controlStrength,
  `a number from 0 to ${LIMITS.controlStrength}`,
);

/** The thresholds of edges, or none where a picture stays as it is. */
export function thresholds(value: string): Thresholds | "none" {
  if (value === "none") return value;
  const [, low, high] = /^(\d{1,4}),(\d{1,4})$/.exec(value)?.map(Number) ?? [];
  if (low !== undefined && high !== undefined && Math.max(low, high) <= LIMITS.gradient) return [low, high];
  throw refusal(`two whole numbers from 0 to ${LIMITS.gradient}, such as 100,200, or none`, value);
}

/** How many times as wide and high a second pass draws. */
export const times = number(
  DECIMAL,
  (value) => value >= 1 && value <= LIMITS.hires,
  `a number from 1 to ${LIMITS.hires}`,
);

/** A LoRA's file or name, and the weight after the last colon. */
export function lora(value: string): { readonly file: string; readonly weight: number } {
  const [, file = value, weight] = /^(.+):([+-]?(?:\d+(?:\.\d*)?|\.\d+))$/s.exec(value) ?? [];
  if (Math.abs(Number(weight ?? 1)) <= LIMITS.loraWeight) return { file: name(file), weight: Number(weight ?? 1) };
  throw refusal(`a file and a weight from ${-LIMITS.loraWeight} to ${LIMITS.loraWeight}`, value);
}

/** A textual inversion's file, and the word after the last colon that is in no folder's name. */
export function embedding(value: string): { readonly file: string; readonly word: string } {
  const [, file = value, word = stemOf(value)] = /^(.+):([^:/\\]+)$/s.exec(value) ?? [];
  if (word.trim() !== "" && word.length <= LIMITS.word) return { file: name(file), word };
  throw refusal(`a file and a word of 1 to ${LIMITS.word} letters`, value);
}

/** Noise takes a seed of 64 bits, more than a number holds exactly. */
export const LAST_SEED = 2n ** 64n - 1n;

export function seed(value: string): bigint {
  if (/^0*\d{1,20}$/.test(value) && BigInt(value) <= LAST_SEED) return BigInt(value);
  throw refusal(`a whole number from 0 to ${LAST_SEED}`, value);
}

/** Part `number`, from 1, of `of` parts of a batch: `2/4`. */
export function shard(value: string): { readonly number: number; readonly of: number } {
  const [number = 0, of = 0] = (/^(\d+)\/(\d+)$/.exec(value)?.slice(1) ?? []).map(Number);
  if (number >= 1 && number <= of && Number.isSafeInteger(of)) return { number, of };
  throw refusal("I/N with I from 1 to N, such as 2/4", value);
}

/** What an option has that takes one of few names. */
interface Choice<Name extends string> {
  readonly choices: readonly Name[];
  readonly read: Reader<Name>;
}

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
    const want = `${choices.length > 1 ? "one of " : ""}${choices.join(", ")}`;
    throw refusal(want, value, meant === undefined ? "" : `: did you mean ${meant}?`);
  };
  return { choices, read };
}

function number(pattern: RegExp, holds: (value: number) => boolean, want: string): Reader<number> {
  return (value) => {
    if (pattern.test(value) && holds(Number(value))) return Number(value);
    throw refusal(want, value);
  };
}

function refusal(want: string, value: string, hint = ""): RangeError {
  const got = JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return new RangeError(`must be ${want}, got ${got}${hint}`);
}
