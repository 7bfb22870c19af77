/**
 * Arguments to checked values.
 * @module
 */
import { type Args, parseArgs } from "@std/cli";
import { UsageError } from "./errors.ts";
import { optionEntry, type OptionName, optionNames, type OptionValues } from "./options.ts";
import { suggest } from "./suggestion.ts";

/** Arguments sorted into options and the rest; values are still text. */
export interface RawArguments {
  /** Text by option name, `true` for a switch. */
  readonly options: Args;
  /** What belongs to no option, in order; empty texts are dropped. */
  readonly positionals: readonly string[];
}

/**
 * Sorts `args` by the options that a command accepts.
 *
 * @throws {UsageError} for an option that is not `accepted`.
 */
export function sortArguments(
  args: readonly string[],
  accepted: readonly OptionName[],
): RawArguments {
  const takesValue = (name: OptionName) => optionEntry(name).read !== undefined;
  const letters = accepted.flatMap((name) => {
    const { letter } = optionEntry(name);
    return letter === undefined ? [] : [[name, letter]];
  });
  const options = parseArgs(normalise(args), {
    string: [...accepted.filter(takesValue), "_"],
    boolean: accepted.filter((name) => !takesValue(name)),
    alias: Object.fromEntries(letters),
    unknown: (arg, key) => {
      if (key !== undefined) throw new UsageError(unknownOption(arg, accepted));
    },
  });
  return { options, positionals: options._.map(String).filter(Boolean) };
}

/**
 * Reads the values of sorted options.
 *
 * @throws {UsageError} for a value that is missing or not allowed.
 */
export function readValues({ options }: Pick<RawArguments, "options">): OptionValues {
  const values = optionNames.map((name) => [name, readValue(name, options[name])]);
  return Object.fromEntries(values);
}

function readValue(name: OptionName, given: unknown): unknown {
  const { read, default: otherwise, value } = optionEntry(name);
  if (read === undefined) return given === true;
  if (given === undefined) {
    return otherwise === undefined ? undefined : read(otherwise);
  }
  if (given === "" && otherwise !== "") {
    throw new UsageError(`--${name} needs a value: --${name} ${value}`);
  }
  try {
    return read(String(given));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new UsageError(`--${name} ${cause.message}`, { cause });
  }
}

/**
 * Two forms that parseArgs would take for options: `--seed -1` is joined, so that the number reaches its check, and
 * `--negative-prompt=` gets its empty value.
 */
function normalise(args: readonly string[]): string[] {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const options = args.slice(0, end).reduce<string[]>((done, arg) => {
    const before = done.at(-1) ?? "";
    if (/^--[^=]+=$/.test(arg)) return [...done, arg.slice(0, -1), ""];
    const joins = /^-\.?\d/.test(arg) && /^--[^=]+$/.test(before);
    return joins ? [...done.slice(0, -1), `${before}=${arg}`] : [...done, arg];
  }, []);
  return [...options, ...args.slice(end)];
}

function unknownOption(arg: string, accepted: readonly OptionName[]): string {
  const name = arg.replace(/^-+/, "").replace(/=.*$/s, "");
  const meant = suggest(name, accepted);
  return `Unknown option ${arg}${meant === undefined ? "; --help lists them all" : `: did you mean --${meant}?`}`;
}
