/**
 * The part of `@std/cli` that the command line uses, over Node's parser: JSR is not reachable everywhere this project is
 * built. To use the real one, point `@std/cli` in deno.json at `jsr:@std/cli` and delete this file.
 * @module
 */
import { parseArgs as parse } from "node:util";

/** How {@link parseArgs} reads options. */
export interface ParseOptions {
  /** Names of options without a value. */
  boolean?: readonly string[];
  /** Names of options with a value; `_` keeps positionals text. */
  string?: readonly string[];
  /** Names of options whose values are lists of all that were given. */
  collect?: readonly string[];
}

/** Values by option name; `_` holds the positionals. */
export interface Args {
  _: string[];
  [name: string]: unknown;
}

/** Reads `--name=value` and `--switch`; after `--` all is positional. */
export function parseArgs(args: string[], { boolean = [], string = [] }: ParseOptions): Args {
  const types = Object.fromEntries([
    ...boolean.map((name) => [name, { type: "boolean" as const }]),
    ...string.filter((name) => name !== "_").map((name) => [name, { type: "string" as const }]),
  ]);
  const result: Args = { _: [] };
  for (const token of parse({ args, options: types, allowPositionals: true, tokens: true }).tokens) {
    if (token.kind === "positional") result._.push(token.value);
    if (token.kind !== "option") continue;
    result[token.name] = [...(result[token.name] as unknown[] ?? []), token.value ?? true];
  }
  return result;
}
