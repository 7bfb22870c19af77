/**
 * Arguments to checked values.
 * @module
 */
import { parseArgs } from "@std/cli";
import { UsageError } from "./errors.ts";
import { optionEntry, type OptionName, optionNames, type OptionValues } from "./options.ts";
import { suggest } from "./suggestion.ts";

/** The options that were given, still text; switches are true or false. */
export type OptionTexts = Readonly<Partial<Record<OptionName, string | boolean>>>;

/** Arguments sorted into options and the rest. */
export interface SortedArguments {
  readonly options: OptionTexts;
  /** What belongs to no option, in order; empty texts are dropped. */
  readonly positionals: readonly string[];
}

/**
 * Sorts `args` by the options that a command accepts: `--name value`, `--name=value`, `--switch` and `-s`; after `--`
 * nothing is an option. An option without its value has the text "".
 *
 * @throws {UsageError} for an option that is not `accepted` or is given twice, or a switch with a value.
 */
export function sortArguments(args: readonly string[], accepted: readonly OptionName[]): SortedArguments {
  const takesValue = (name: OptionName) => optionEntry(name).read !== undefined;
  const letters = accepted.flatMap((name) => {
    const { letter } = optionEntry(name);
    return letter === undefined ? [] : [[name, letter]];
  });
  const { _: positionals, ...collected } = parseArgs(normalise(args, accepted), {
    string: [...accepted.filter(takesValue), "_"],
    boolean: accepted.filter((name) => !takesValue(name)),
    collect: accepted,
    alias: Object.fromEntries(letters),
    unknown: (arg, key) => {
      if (key !== undefined) throw new UsageError(unknownOption(arg, accepted));
    },
  });
  const options = accepted.flatMap((name): (readonly [OptionName, string | boolean])[] => {
    const [value, ...more] = [collected[name] ?? []].flat() as (string | boolean)[];
    if (more.length > 0) throw new UsageError(`--${name} is given ${more.length + 1} times: give it once`);
    return value === undefined ? [] : [[name, value]];
  });
  return { options: Object.fromEntries(options), positionals: positionals.map(String).filter(Boolean) };
}

/**
 * Arguments as parseArgs takes them: a negative number is joined to its option, so that it reaches its check. What it
 * would misread is refused: a value after a switch, and several letters after one dash.
 */
function normalise(args: readonly string[], accepted: readonly OptionName[]): string[] {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const done: string[] = [];
  for (const arg of args.slice(0, end)) {
    const before = done.at(-1) ?? "";
    const [, name, value] = /^--([^=]+)=(.*)$/s.exec(arg) ?? [];
    const known = accepted.find((option) => option === name);
    if (known !== undefined && optionEntry(known).read === undefined) {
      throw new UsageError(`--${name} takes no value, got ${JSON.stringify(value)}`);
    }
    if (/^-\.?\d/.test(arg)) {
      if (!/^--[^=]+$/.test(before)) {
        throw new UsageError(`${arg} begins with a dash: put -- before a prompt that does`);
      }
      done.splice(-1, 1, `${before}=${arg}`);
    } else if (/^-[^-]./s.test(arg)) {
      throw new UsageError(unknownOption(arg, accepted));
    } else {
      done.push(arg);
    }
  }
  return [...done, ...args.slice(end)];
}

function unknownOption(arg: string, accepted: readonly OptionName[]): string {
  const name = arg.replace(/^-+/, "").replace(/=.*$/s, "");
  const meant = suggest(name, accepted);
  return `Unknown option ${arg}${meant === undefined ? "; --help lists them all" : `: did you mean --${meant}?`}`;
}

/**
 * The values of options, and for those that were not given what `others` say, or the defaults.
 *
 * @throws {UsageError} for a value that is missing or not allowed.
 */
export function readValues(options: OptionTexts, others?: OptionValues): OptionValues {
  const names = others === undefined ? optionNames : Object.keys(options) as OptionName[];
  return {
    ...others,
    ...Object.fromEntries(names.map((name) => [name, readValue(name, options[name])])),
  } as OptionValues;
}

function readValue(name: OptionName, given: string | boolean | undefined): unknown {
  const { read, default: otherwise, value } = optionEntry(name);
  if (read === undefined) return given === true;
  if (given === undefined) return otherwise === undefined ? undefined : read(otherwise);
  if (given === "" && otherwise !== "") throw new UsageError(`--${name} needs a value: --${name} ${value}`);
  try {
    return read(String(given));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new UsageError(`--${name} ${cause.message}`, { cause });
  }
}
