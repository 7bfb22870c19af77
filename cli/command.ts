/**
 * What a command is, in the table of commands and to its own code.
 * @module
 */
import type { Args } from "@std/cli";
import type { Environment } from "./environment.ts";
import type { OptionName, OptionValues } from "./options.ts";

/** What a command is given, checked. */
export interface Given {
  /** Values of the options. */
  readonly values: OptionValues;
  /** The options as they were given, still text. */
  readonly options: Args;
  /** Arguments that belong to no option. */
  readonly positionals: readonly string[];
}

/** An entry of the command table. */
export interface Command<Name extends string = string> {
  /** The first argument that asks for it; the first entry needs none. */
  readonly name: Name;
  /** How help writes its arguments. */
  readonly usage: string;
  /** What it does, in words. */
  readonly summary: string;
  /** What its arguments are, when a shell can complete them: files, or one of these words. */
  readonly completes?: "files" | readonly string[];
  /** The options it knows. */
  readonly options: readonly OptionName[];
}

/** A command's code: it returns an exit code, 0 when it returns nothing. */
export interface CommandModule {
  execute(given: Given, environment: Environment): Promise<number | void>;
}
