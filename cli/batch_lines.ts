/**
 * The lines of a batch file: prompts, or JSON objects with a prompt and options.
 * @module
 */
import { UsageError } from "./errors.ts";
import { optionEntry, optionNames } from "./options.ts";
import { type PictureLine, readPictureLine } from "./picture_line.ts";

/** What a line asks for, or why it asks for nothing. */
export interface BatchLine extends PictureLine {
  /** Which line of the file, from 1. */
  readonly number: number;
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
    if (options[name] === undefined || options[name] === (run[name] ?? otherwise)) continue;
    const said = JSON.stringify(options[name]);
    throw new UsageError(`${name} is ${said}, but a batch loads its model once: --${name} says it for all lines`);
  }
}

function readLine(line: string, number: number): BatchLine {
  if (!line.startsWith("{")) return { number, prompt: line, options: {} };
  try {
    return { number, ...readPictureLine(line) };
  } catch (error) {
    if (error instanceof UsageError) return { number, prompt: "", options: {}, error };
    throw error;
  }
}
