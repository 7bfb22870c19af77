/**
 * Arguments to checked values.
 * @module
 */
import { parseArgs } from "@std/cli";
import { UsageError } from "./errors.ts";
import { optionEntry, type OptionName, optionNames, type OptionValues } from "./options.ts";
import { suggest } from "./suggestion.ts";

/** What an option was given: text, for a switch true or false, and where it may be given several times a list. */
export type OptionText = string | boolean | readonly string[];

/** The options that were given. */
export type OptionTexts = Readonly<Partial<Record<OptionName, OptionText>>>;

/** Arguments sorted into options and the rest. */
export interface SortedArguments {
  readonly options: OptionTexts;
  /** What belongs to no option, in order; texts that are empty, or white space alone, are dropped. */
  readonly positionals: readonly string[];
}

/** A command, as far as its arguments are concerned. */
interface Accepting {
  readonly name: string;
  readonly options: readonly OptionName[];
}

/**
 * Sorts `args` by the options that `command` accepts: `--name value`, `--name=value`, `--switch` and a letter after one
 * dash; after `--` nothing is an option.
 *
 * @throws {UsageError} for an option that is not accepted, is given twice or lacks its value, or a switch with one.
 */
export function sortArguments(
  args: readonly string[],
  command: Accepting,
  commands: readonly Accepting[] = [],
): SortedArguments {
  const { options: accepted } = command;
  const { _: positionals, ...collected } = parseArgs(normalise(args, command, commands), {
    string: [...accepted.filter(takesValue), "_"],
    boolean: accepted.filter((name) => !takesValue(name)),
    collect: accepted,
  });
  const options = accepted.flatMap((name): (readonly [OptionName, OptionText])[] => {
    const all = [collected[name] ?? []].flat() as (string | boolean)[];
    if (optionEntry(name).repeats) return all.length === 0 ? [] : [[name, all.map(String)]];
    const [value, ...more] = all;
    if (more.length > 0) throw new UsageError(`--${name} is given ${more.length + 1} times: give it once`);
    return value === undefined ? [] : [[name, value]];
  });
  return {
    options: Object.fromEntries(options),
    positionals: positionals.map(String).filter((text) => text.trim() !== ""),
  };
}

/** Arguments as parseArgs cannot misread them: every option by its whole name, and joined to its value. */
function normalise(args: readonly string[], command: Accepting, commands: readonly Accepting[]): string[] {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const done: string[] = [];
  for (let i = 0; i < end; i++) {
    const arg = args[i]!;
    if (!/^-./s.test(arg)) {
      done.push(arg);
      continue;
    }
    if (NUMBER.test(arg)) throw new UsageError(`${arg} begins with a dash: put -- before a prompt that does`);
    const [, dashes, name = "", value] = /^(--?)([^=]*)(?:=(.*))?$/s.exec(arg)!;
    const option = command.options.find((known) => name === (dashes === "--" ? known : optionEntry(known).letter));
    if (option === undefined) throw new UsageError(describeUnknown(arg, command, commands));
    if (!takesValue(option)) {
      if (value !== undefined) throw new UsageError(`--${option} takes no value, got ${JSON.stringify(value)}`);
      done.push(`--${option}`);
    } else {
      done.push(`--${option}=${value ?? valueAfter(option, i + 1 < end ? args[++i] : undefined)}`);
    }
  }
  return [...done, ...args.slice(end)];
}

/** A negative number, or a prompt like one. */
const NUMBER = /^-\.?\d/;

/** @throws {UsageError} when nothing follows an option, or what looks like another. */
function valueAfter(option: OptionName, next: string | undefined): string {
  if (next !== undefined && (!/^-./s.test(next) || NUMBER.test(next))) return next;
  const hint = next === undefined ? "" : `; if ${next} is meant, write --${option}=${next}`;
  throw new UsageError(`--${option} needs a value: --${option} ${optionEntry(option).value}${hint}`);
}

function takesValue(name: OptionName): boolean {
  return optionEntry(name).read !== undefined;
}

function describeUnknown(arg: string, command: Accepting, commands: readonly Accepting[]): string {
  // The first needs no name.
  const callOf = (named: Accepting) => named === commands[0] ? "denoise" : `denoise ${named.name}`;
  const name = arg.replace(/^-+/, "").replace(/=.*$/s, "");
  const owners = commands.filter(({ options }) => arg.startsWith("--") && options.some((option) => option === name));
  if (owners.length > 0) {
    const names = new Intl.ListFormat("en-GB").format(owners.map(callOf));
    return `--${name} is not an option of ${callOf(command)}: it belongs to ${names}`;
  }
  const meant = suggest(name, command.options);
  if (meant !== undefined) return `Unknown option ${arg}: did you mean --${meant}?`;
  const elsewhere = suggest(name, optionNames);
  const owner = commands.find(({ options }) => options.some((option) => option === elsewhere));
  if (owner !== undefined) return `Unknown option ${arg}: did you mean --${elsewhere} of ${callOf(owner)}?`;
  return `Unknown option ${arg}; --help lists them all`;
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

function readValue(name: OptionName, given: OptionText | undefined): unknown {
  const { read, default: otherwise, repeats } = optionEntry(name);
  if (read === undefined) return given === true;
  if (repeats) return [given ?? []].flat().map((text) => readText(name, text));
  if (given === undefined) return otherwise === undefined ? undefined : read(otherwise);
  return readText(name, given);
}

function readText(name: OptionName, given: OptionText): unknown {
  const { read, default: otherwise, value } = optionEntry(name);
  if (given === "" && otherwise !== "") throw new UsageError(`--${name} needs a value: --${name} ${value}`);
  try {
    return read!(String(given));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new UsageError(`--${name} ${cause.message}`, { cause });
  }
}
