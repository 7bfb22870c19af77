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
  /** The letter of an option. */
  alias?: Record<string, string>;
  /** Called with an option that has none of these names. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** Values by option name; `_` holds the positionals. */
export interface Args {
  _: string[];
  [name: string]: unknown;
}

/** Reads `--name value`, `--name=value`, `--switch` and `-s`; after `--` all is positional. A missing value is "". */
export function parseArgs(args: string[], { boolean = [], string = [], alias = {}, unknown }: ParseOptions): Args {
  const letter = (name: string) => alias[name] === undefined ? {} : { short: alias[name] };
  const named = string.filter((name) => name !== "_");
  const types = Object.fromEntries([
    ...boolean.map((name) => [name, { type: "boolean" as const, ...letter(name) }]),
    ...named.map((name) => [name, { type: "string" as const, ...letter(name) }]),
  ]);
  const takesNext = new Set(named.flatMap((name) => [`--${name}`, ...(alias[name] ? [`-${alias[name]}`] : [])]));
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  // Node would take the option that follows for the value.
  const read = args.map((arg, i) => i < end && takesNext.has(arg) && /^-./.test(args[i + 1] ?? "-x") ? `${arg}=` : arg);
  const result: Args = { _: [] };
  for (
    const token of parse({ args: read, options: types, strict: false, allowPositionals: true, tokens: true }).tokens
  ) {
    if (token.kind === "positional") result._.push(token.value);
    if (token.kind !== "option") continue;
    if (!Object.hasOwn(types, token.name)) unknown?.(token.rawName, token.name, token.value);
    else result[token.name] = [...(result[token.name] as unknown[] ?? []), token.value ?? true];
  }
  return result;
}
