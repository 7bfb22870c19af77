/**
 * Names of files: from prompts, from templates, and which of them would be the same.
 * @module
 */
import { UsageError } from "./errors.ts";
import { suggest } from "./suggestion.ts";

/** Letters of a name, so that name, seed and ending stay below a file system's 255 bytes. */
const LONGEST = 48;

/** A prompt as part of a file name: `A slice of pizza!` becomes `a-slice-of-pizza`. */
export function slug(prompt: string): string {
  const words = prompt.normalize("NFC").toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? ["picture"];
  return [...words.join("-")].slice(0, LONGEST).join("").replace(/-$/, "");
}

/** `name.png`, `name-2.png`, `name-3.png` ... */
export function* numberedNames(name: string): Generator<string> {
  const stem = name.replace(/\.png$/, "");
  for (let number = 1;; number++) yield `${stem}${number === 1 ? "" : `-${number}`}.png`;
}

/** What counts up from picture to picture. */
export interface Counters {
  readonly index: number;
  readonly seed: bigint;
}

/** Stand for the counters in a pattern; no path has this character. */
const INDEX = "\0i";
const SEED = "\0s";

/**
 * A template with the {@link slug} of the prompt for `{slug}`; what is left open, `{index}` and `{seed}`, is for
 * {@link fillIn}.
 *
 * @throws {UsageError} for braces around anything else, and for a name that no file has.
 */
export function readTemplate(template: string, prompt: string): string {
  checkFileName(template, "output");
  const known = new Map([["index", INDEX], ["seed", SEED], ["slug", slug(prompt)]]);
  return template.replaceAll(/\{([^{}]*)\}/g, (written, name: string) => {
    const value = known.get(name);
    if (value !== undefined) return value;
    const meant = suggest(name, [...known.keys()]);
    const hint = meant === undefined ? "it knows {index}, {seed} and {slug}" : `did you mean {${meant}}?`;
    throw new UsageError(`--output cannot fill in ${written}: ${hint}`);
  });
}

/** @throws {UsageError} for a name that no file has. */
export function checkFileName(name: string, option: "output" | "grid" | "preview"): void {
  if (name.includes("\0")) throw new UsageError(`--${option} has the character 0, which no name has`);
  if (/[/\\]$/.test(name)) throw new UsageError(`--${option} ${name} names a folder: put a file name after it`);
}

/** A name; an index has four digits or more, so that names sort and stay the same when a batch grows. */
export function fillIn(pattern: string, { index, seed }: Counters): string {
  return pattern.replaceAll(INDEX, `${index}`.padStart(4, "0")).replaceAll(SEED, `${seed}`);
}

/** Files of one pattern: the first has these counters, and each one more counts up. */
export interface NamedFiles extends Counters {
  readonly pattern: string;
  readonly count: number;
  /** Whether they are only read; two readers may share a file. */
  readonly isRead: boolean;
}

/** Names that are compared one by one, where their numbers do not keep them apart. */
const MOST_COMPARED = 2 ** 15;

/** A file that two want, and which of theirs it is. */
export interface Clash<Files> {
  readonly name: string;
  readonly one: readonly [files: Files, offset: number];
  readonly other: readonly [files: Files, offset: number];
}

/**
 * Two of these files that would be the same, if there are any. A billion of them are no work: names can only be the same
 * where all is but their digits, and there, in order, the ranges of their numbers must overlap.
 */
export function findClash<Files extends NamedFiles>(all: readonly Files[]): Clash<Files> | undefined {
  const alike = Map.groupBy(all, ({ pattern }) => pattern.replaceAll(DIGITS, "#"));
  for (const files of alike.values()) {
    const clash = narrow(files, 0);
    if (clash !== undefined) return clash;
  }
  return undefined;
}

/** A run of digits in a name, and of counters in a pattern. */
const DIGITS = /(?:\d|\0[is])+/g;

/** Compares files by their run of digits number `position`, and those whose ranges overlap by the next one. */
function narrow<Files extends NamedFiles>(all: readonly Files[], position: number): Clash<Files> | undefined {
  const [first] = all;
  if (all.length === 1 && (first!.count === 1 || first!.pattern.includes("\0"))) return undefined;
  const runs = all.map((files) => ({ files, run: files.pattern.match(DIGITS)?.[position] }));
  if (runs[0]!.run === undefined) return compare(all);
  const ranges = runs.map(({ files, run }) => ({
    files,
    low: BigInt(fillIn(run!, files)),
    high: BigInt(fillIn(run!, countersOf(files, files.count - 1))),
  })).sort((a, b) => a.low < b.low ? -1 : a.low > b.low ? 1 : 0);
  let [overlapping, reached] = [[] as Files[], -1n];
  for (const { files, low, high } of [...ranges, { files: undefined, low: Infinity, high: 0n }]) {
    if (low > reached && overlapping.length > 0) {
      const clash = narrow(overlapping, position + 1);
      if (clash !== undefined) return clash;
      overlapping = [];
    }
    if (files !== undefined) overlapping.push(files);
    if (high > reached) reached = high;
  }
  return undefined;
}

/**
 * Compares all names, except that those of the longest files are not listed but looked for.
 *
 * @throws {UsageError} when the others are too many.
 */
function compare<Files extends NamedFiles>(all: readonly Files[]): Clash<Files> | undefined {
  const [longest, ...others] = all.toSorted((a, b) => b.count - a.count) as [Files, ...Files[]];
  if (longest.count > 1 && !longest.isRead && !longest.pattern.includes("\0")) {
    return { name: longest.pattern, one: [longest, 0], other: [longest, 1] };
  }
  const seen = new Map<string, readonly [Files, number]>();
  for (const files of others) {
    for (let offset = 0; offset < files.count; offset++) {
      const name = nameOf(files, offset);
      const found = offsetOf(name, longest);
      const before = seen.get(name) ?? (found === undefined ? undefined : [longest, found] as const);
      if (before !== undefined && !(before[0].isRead && files.isRead)) {
        return { name, one: before, other: [files, offset] };
      }
      seen.set(name, [files, offset]);
      if (seen.size > MOST_COMPARED) {
        throw new UsageError("The names of too many pictures may be the same: put {index} into --output");
      }
    }
  }
  return undefined;
}

/** Which of `files` has this name, if any; numbers never go down. */
function offsetOf(name: string, { pattern, ...files }: NamedFiles): number | undefined {
  const runs = pattern.match(DIGITS) ?? [];
  const position = runs.findIndex((run) => run.includes("\0"));
  let [low, high] = [0, position < 0 ? 0 : files.count - 1];
  const wanted = BigInt(name.match(DIGITS)?.[position] ?? 0);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (BigInt(fillIn(runs[position]!, countersOf(files, middle))) < wanted) low = middle + 1;
    else high = middle;
  }
  return nameOf({ pattern, ...files }, low) === name ? low : undefined;
}

function nameOf(files: NamedFiles, offset: number): string {
  return fillIn(files.pattern, countersOf(files, offset));
}

/** The counters of the picture that comes `offset` after the first. */
export function countersOf({ index, seed }: Counters, offset: number): Counters {
  return { index: index + offset, seed: seed + BigInt(offset) };
}
