/**
 * What a picture is made from, as one JSON object: a prompt, and options by their names.
 * @module
 */
import type { Args } from "@std/cli";
import type { Request } from "../pipeline/request.ts";
import { UsageError } from "./errors.ts";
import { optionEntry, type OptionName, optionNames } from "./options.ts";
import { suggest } from "./suggestion.ts";

/** A prompt and its options, as the command line would hold them. */
export interface PictureLine {
  /** What to draw. */
  readonly prompt: string;
  /** Texts of options, and switches. */
  readonly options: Readonly<Partial<Record<OptionName, string | boolean>>>;
}

/** What {@link describePicture} describes. */
export interface Described {
  /** The complete request: it holds what the model chose. */
  readonly request: Request;
  /** What was given, for what is no part of a request. */
  readonly options: Args;
  /** The model's name, where none was given. */
  readonly model: string;
}

/**
 * The object from which {@link readPictureLine} and the model make `request` again: everything that decides the
 * picture, whether it was given, the model's choice or the default.
 */
export function describePicture({ request, options, model }: Described): Readonly<Record<string, unknown>> {
  const { init, ...told } = request;
  const fields = new Map(
    Object.entries({ ...told, strength: init?.strength }).map(([field, value]) => [optionOf(field), value]),
  );
  const kept = optionNames.filter((name) => ["picture", "model"].includes(optionEntry(name).scope ?? ""));
  const entries = kept.flatMap((name) => {
    const otherwise = name === "model" ? model : optionEntry(name).default;
    const value = fields.get(name) ?? options[name] ?? otherwise;
    // A text: most readers of JSON round numbers above 2^53.
    return value === undefined ? [] : [[name, typeof value === "bigint" ? `${value}` : value]];
  });
  return { prompt: request.prompt, ...Object.fromEntries(entries) };
}

/**
 * Reads such an object.
 *
 * @throws {UsageError} when it is none, or says what no picture can be told.
 */
export function readPictureLine(json: string): PictureLine {
  const { prompt, ...options } = parseObject(json);
  if (typeof prompt !== "string" || prompt.trim() === "") {
    throw new UsageError('it has no prompt: it needs "prompt" and a text');
  }
  const read = Object.entries(options).map(([name, value]) => [name, readOption(name, value)]);
  return { prompt, options: Object.fromEntries(read) };
}

/** The option that becomes a field of a request: `negativePrompt` is `negative-prompt`. */
function optionOf(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** A number as it is written: a seed has more digits than a number holds. */
class Digits {
  constructor(readonly text: string) {}
}

function parseObject(json: string): Record<string, unknown> {
  const keepDigits = (_key: string, value: unknown, { source }: { source?: string }) =>
    typeof value === "number" ? new Digits(source!) : value;
  let parsed: unknown;
  try {
    parsed = JSON.parse(json, keepDigits as (key: string, value: unknown) => unknown);
  } catch (cause) {
    throw new UsageError(`it is no JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return { ...parsed };
  throw new UsageError("it is no JSON object");
}

function readOption(name: string, value: unknown): string | boolean {
  const allowed = optionNames.filter((known) => optionEntry(known).scope !== undefined);
  const option = allowed.find((known) => known === name);
  if (option === undefined) {
    const meant = suggest(name, allowed);
    throw new UsageError(`${name} is no option of a line${meant === undefined ? "" : `: did you mean ${meant}?`}`);
  }
  if (optionEntry(option).read === undefined) {
    if (typeof value === "boolean") return value;
    throw new UsageError(`${name} must be true or false`);
  }
  if (typeof value === "string") return value;
  if (value instanceof Digits) return value.text;
  throw new UsageError(`${name} must be a text or a number`);
}
