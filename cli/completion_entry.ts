/**
 * An option as completions need it.
 * @module
 */
import { optionEntry, type OptionName } from "./options.ts";

/** An option as completions need it. */
export interface CompletionEntry {
  readonly name: OptionName;
  readonly letter?: string;
  /** What it does, in a few words. */
  readonly help: string;
  /** What follows it: nothing, a file or folder, one of a list, or what no shell knows. */
  readonly value: "none" | "file" | "other" | readonly string[];
}

/** The option of this name. */
export function completionEntry(name: OptionName): CompletionEntry {
  const { help, letter, value, choices, read } = optionEntry(name);
  const takesFile = value !== undefined && /FILE|DIR/.test(value);
  return {
    name,
    ...(letter && { letter }),
    help: help.split("; ")[0]!,
    value: choices ?? (read === undefined ? "none" : takesFile ? "file" : "other"),
  };
}
