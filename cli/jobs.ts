/**
 * What is going to be made: pictures with their seeds and names, and what is refused before the work starts.
 * @module
 */
import { dirname, resolve } from "@std/path";
import { UsageError } from "./errors.ts";
import { checkWritable } from "./files.ts";
import type { OptionValues } from "./options.ts";
import type { Spec } from "./request.ts";
import { suggest } from "./suggestion.ts";
import { LAST_SEED } from "./values.ts";

/** Where a picture stands in a run. */
export interface Place {
  /** Which picture of the run, from 1. */
  readonly index: number;
  /** The line of the batch file that asks for it, from 1. */
  readonly line?: number | undefined;
}

/** A picture that is going to be made. */
export interface Job extends Place {
  /** The same object for all pictures of a `--count`. */
  readonly spec: Spec;
  readonly seed: bigint;
  /** The file it goes to; `-` is standard output. */
  readonly name: string;
  /** Whether it takes the place of a file of that name, or gets a number after its own. */
  readonly replaces: boolean;
}

/** A picture that is not made, and why. */
export interface Failure extends Place {
  readonly status: "error";
  readonly error: Error;
}

export function isFailure(job: Job | Failure): job is Failure {
  return "error" in job;
}

/**
 * The `--count` pictures of `spec`; indices and seeds count up from those of the first one. Without `--output` they are
 * named after `template`.
 *
 * @throws {UsageError} when a seed would not fit into 64 bits, or the template cannot be filled in.
 */
export function createJobs(
  spec: Spec,
  { index, seed, line, template, replaces }: Omit<Job, "spec" | "name"> & { readonly template: string },
): Job[] {
  const { count, output } = spec.values;
  if (seed + BigInt(count - 1) > LAST_SEED) {
    throw new UsageError(`--count ${count} from seed ${seed} exceeds the largest seed, ${LAST_SEED}`);
  }
  return Array.from({ length: count }, (_, offset) => {
    const place = { index: index + offset, line, seed: seed + BigInt(offset) };
    const name = fillIn(output ?? template, { ...place, prompt: spec.prompt });
    return { ...place, spec, name, replaces: replaces || output !== undefined };
  });
}

/** Turns jobs for which `check` throws into failures. Without `--continue-on-error` the first failure is thrown. */
export async function refuse(
  jobs: readonly (Job | Failure)[],
  { "continue-on-error": goesOn }: OptionValues,
  check: (job: Job) => void | Promise<void>,
): Promise<(Job | Failure)[]> {
  const checked: (Job | Failure)[] = [];
  for (const job of jobs) {
    try {
      if (isFailure(job)) throw job.error;
      await check(job);
      checked.push(job);
    } catch (error) {
      if (!goesOn) throw error;
      checked.push({ index: job.index, line: job.line, status: "error", error: error as Error });
    }
  }
  return checked;
}

/** @throws {UsageError} when two pictures would take each other's place. */
export function checkNames(jobs: readonly (Job | Failure)[]): void {
  const writers = new Map<string, Job>();
  for (const job of jobs) {
    if (isFailure(job) || !job.replaces) continue;
    const path = resolve(job.name);
    const other = writers.get(path);
    if (other !== undefined) {
      const both = `${placeName(other)} and ${placeName(job)} would both go to ${job.name}`;
      throw new UsageError(`${both}: put {index} or {seed} into --output`);
    }
    writers.set(path, job);
  }
}

function placeName({ index, line }: Place): string {
  return line === undefined ? `Picture ${index}` : `Picture ${index} of line ${line}`;
}

/**
 * Refuses jobs whose files cannot be written in `folder` or where their names lead from there.
 *
 * @throws {OutputError} when the run's contact sheet or preview cannot be written; as {@link refuse} otherwise.
 */
export async function checkPlaces(
  jobs: readonly (Job | Failure)[],
  { values, folder }: { readonly values: OptionValues; readonly folder: string },
): Promise<(Job | Failure)[]> {
  // One check a folder, since it writes a file.
  const checks = new Map<string, Promise<void>>();
  const checked = await refuse(jobs, values, async ({ name }) => {
    if (name === "-") return;
    const path = resolve(folder, name);
    const check = checks.get(dirname(path)) ?? Promise.try(checkWritable, path);
    checks.set(dirname(path), check);
    await check;
  });
  for (const path of [values.grid, values.preview]) if (path !== undefined) checkWritable(resolve(folder, path));
  return checked;
}

/** Letters of a name, so that name, seed and ending stay below a file system's 255 bytes. */
const LONGEST = 48;

/** A prompt as part of a file name: `A slice of pizza!` becomes `a-slice-of-pizza`. */
export function slug(prompt: string): string {
  const words = prompt.normalize("NFC").toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? ["picture"];
  return [...words.join("-")].slice(0, LONGEST).join("").replace(/-$/, "");
}

/** `name.png`, or the first of `name-2.png`, `name-3.png` ... that is not `taken`. */
export function freeName(name: string, taken: (fileName: string) => boolean): string {
  for (let number = 1;; number++) {
    const fileName = `${name}${number === 1 ? "" : `-${number}`}.png`;
    if (!taken(fileName)) return fileName;
  }
}

/**
 * Fills in a template: `{index}` becomes four digits or more, so that names sort and stay the same when a batch grows,
 * `{seed}` the seed, `{slug}` the {@link slug} of the prompt.
 *
 * @throws {UsageError} for braces around anything else.
 */
function fillIn(template: string, { index, seed, prompt }: { index: number; seed: bigint; prompt: string }): string {
  const known = new Map([["index", `${index}`.padStart(4, "0")], ["seed", `${seed}`], ["slug", slug(prompt)]]);
  return template.replaceAll(/\{([^{}]*)\}/g, (written, name: string) => {
    const value = known.get(name);
    if (value !== undefined) return value;
    const meant = suggest(name, [...known.keys()]);
    const hint = meant === undefined ? "it knows {index}, {seed} and {slug}" : `did you mean {${meant}}?`;
    throw new UsageError(`--output cannot fill in ${written}: ${hint}`);
  });
}
