/**
 * The lines of a batch file: prompts, or JSON objects with a prompt and options.
 * @module
 */
import { UsageError } from "./errors.ts";
import { optionEntry, type OptionName, optionNames } from "./options.ts";
import { suggest } from "./suggestion.ts";

/** What a line asks for, or why it asks for nothing. */
export interface BatchLine {
  /** Which line of the file, from 1. */
  readonly number: number;
  /** What to draw. */
  readonly prompt: string;
  /** Its options, as the command line would hold them. */
  readonly options: Readonly<Partial<Record<OptionName, string | boolean>>>;
  /** What is wrong with it. */
  readonly error?: UsageError;
}

/** The lines of `text` that ask for pictures: empty lines and those that begin with `#` do not. */
export function readBatchLines(text: string): BatchLine[] {
  return text.replace(/^\uFEFF/, "").split("\n").flatMap((written, index) => {
    const line = written.trim();
    return line === "" || line.startsWith("#") ? [] : [readLine(line, index + 1)];
  });
}

/**
 * Refuses a line that changes what is loaded once.
 *
 * @throws {UsageError} when it names another model, precision or kernels than the options of the `run`.
 */
export function checkModel({ options }: BatchLine, run: Readonly<Record<string, unknown>>): void {
  for (const name of optionNames.filter((name) => optionEntry(name).scope === "model")) {
    const { default: text, otherwise = text } = optionEntry(name);
    const loaded = run[name] ?? otherwise;
    if (options[name] === undefined || options[name] === loaded) continue;
    throw new UsageError(
      `${name} is ${JSON.stringify(options[name])}, but a batch loads one model, with ${JSON.stringify(loaded)}: ` +
        `--${name} says it for all lines`,
    );
  }
}

function readLine(line: string, number: number): BatchLine {
  if (!line.startsWith("{")) return { number, prompt: line, options: {} };
  try {
    const { prompt, ...options } = parseObject(line);
    if (typeof prompt !== "string" || prompt.trim() === "") {
      throw new UsageError('it has no prompt: it needs "prompt" and a text');
    }
    const read = Object.entries(options).map(([name, value]) => [name, readOption(name, value)]);
    return { number, prompt, options: Object.fromEntries(read) };
  } catch (error) {
    if (error instanceof UsageError) return { number, prompt: "", options: {}, error };
    throw error;
  }
}

/** A number as it is written: a seed has more digits than a number holds. */
class Digits {
  constructor(readonly text: string) {}
}

function parseObject(line: string): Record<string, unknown> {
  const keepDigits = (_key: string, value: unknown, { source }: { source?: string }) =>
    typeof value === "number" ? new Digits(source!) : value;
  try {
    return JSON.parse(line, keepDigits as (key: string, value: unknown) => unknown);
  } catch (cause) {
    throw new UsageError(`it begins with { and is no JSON object: ${(cause as Error).message}`, { cause });
  }
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
