/**
 * The part of `@std/cli` that the command line uses: JSR is not reachable
 * everywhere this project is built. To use the real one, point `@std/cli` in
 * deno.json at `jsr:@std/cli` and delete this file.
 * @module
 */

/** How {@link parseArgs} reads options. */
export interface ParseOptions {
  /** Names of options without a value. */
  boolean?: readonly string[];
  /** Names of options with a value; `_` keeps positionals text, too. */
  string?: readonly string[];
  /** Other names of an option. */
  alias?: Record<string, string>;
  /** Called with what is no known option; `key` is absent for a positional. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** Values by option name; `_` holds the positionals. */
export interface Args {
  /** What belongs to no option, in order. */
  _: (string | number)[];
  /** The value of an option; the last one given wins. */
  // deno-lint-ignore no-explicit-any
  [name: string]: any;
}

/**
 * Reads `--name value`, `--name=value`, `--switch` and `-s`; after `--` all
 * is positional. An option whose value is missing has the value `""`, a
 * switch that is absent is `false`.
 */
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const { boolean = [], string = [], alias = {}, unknown } = options;
  const names = new Map(Object.entries(alias).map(([name, to]) => [to, name]));
  const result: Args = { _: [] };
  for (const name of boolean) result[name] = false;

  function setOption(arg: string, key: string, value: unknown): void {
    const name = names.get(key) ?? key;
    // A single dash goes with a letter: `-steps` would be five of them.
    const written = arg.startsWith("--") || key.length === 1;
    const known = written && (boolean.includes(name) || string.includes(name));
    if (!known && unknown?.(arg, key, value) === false) return;
    result[name] = value;
  }

  function addPositional(arg: string): void {
    if (unknown?.(arg) === false) return;
    const text = string.includes("_") || arg === "" || isNaN(Number(arg));
    result._.push(text ? arg : Number(arg));
  }

  const end = args.indexOf("--");
  const read = end < 0 ? args : args.slice(0, end);
  for (let index = 0; index < read.length; index++) {
    const arg = read[index]!;
    const match = arg.match(/^--?(?<key>.+?)(?:=(?<value>.+))?$/s)?.groups;
    if (!match) {
      addPositional(arg);
      continue;
    }
    const key = match.key!;
    const next = read[index + 1];
    if (match.value !== undefined) {
      setOption(arg, key, match.value);
    } else if (boolean.includes(names.get(key) ?? key)) {
      setOption(arg, key, true);
    } else if (next && !/^--?[^-]/.test(next)) {
      setOption(arg, key, next);
      index++;
    } else {
      setOption(arg, key, "");
    }
  }
  if (end >= 0) args.slice(end + 1).forEach(addPositional);
  return result;
}
