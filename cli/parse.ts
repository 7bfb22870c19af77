/**
 * Arguments to checked values.
 * @module
 */
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
 * nothing is an option. Of an option that is given twice the last one counts; one without its value has the text "".
 *
 * @throws {UsageError} for an option that is not `accepted`, or a switch with a value.
 */
export function sortArguments(args: readonly string[], accepted: readonly OptionName[]): SortedArguments {
  const options: Partial<Record<OptionName, string | boolean>> = {};
  const positionals: string[] = [];
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  for (let i = 0; i < end; i++) {
    const arg = args[i]!;
    const [, dashes, key, value] = /^(--?)([^=]+)(?:=(.*))?$/s.exec(arg) ?? [];
    if (key === undefined) {
      positionals.push(arg);
      continue;
    }
    // A single dash goes with a letter: `-steps` would be five of them.
    const name = accepted.find((name) => dashes === "--" ? name === key : optionEntry(name).letter === key);
    if (name === undefined) throw new UsageError(unknownOption(arg, accepted));
    if (optionEntry(name).read !== undefined) {
      options[name] = value ?? (i + 1 < end && isValue(args[i + 1]!) ? args[++i]! : "");
    } else if (value === undefined) {
      options[name] = true;
    } else {
      throw new UsageError(`--${name} takes no value, got ${JSON.stringify(value)}`);
    }
  }
  return { options, positionals: [...positionals, ...args.slice(end + 1)].filter(Boolean) };
}

/** Whether what follows an option is its value: `-` is, and a negative number, which its check refuses. */
function isValue(arg: string): boolean {
  return /^-\.?\d/.test(arg) || !/^--?[^-]/.test(arg);
}

function unknownOption(arg: string, accepted: readonly OptionName[]): string {
  const name = arg.replace(/^-+/, "").replace(/=.*$/s, "");
  const meant = suggest(name, accepted);
  return `Unknown option ${arg}${meant === undefined ? "; --help lists them all" : `: did you mean --${meant}?`}`;
}

/** @throws {UsageError} for a value that is missing or not allowed. */
export function readValues(options: OptionTexts): OptionValues {
  return Object.fromEntries(optionNames.map((name) => [name, readValue(name, options[name])])) as OptionValues;
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
