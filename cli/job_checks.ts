/**
 * What is refused before the work starts.
 * @module
 */
import { dirname, resolve } from "@std/path";
import { UsageError } from "./errors.ts";
import type { OptionValues } from "./options.ts";
import { type Entry, isRefusal, type Job, type Place } from "./picture_job.ts";
import { checkWritable } from "./whole_file.ts";

/** Turns jobs for which `check` throws into refusals. */
export function refuse(entries: readonly Entry[], check: (job: Job) => void): Entry[] {
  return entries.map((entry) => {
    if (isRefusal(entry)) return entry;
    try {
      check(entry);
      return entry;
    } catch (error) {
      const { index, line } = entry;
      return { index, ...(line === undefined ? {} : { line }), error: error as Error };
    }
  });
}

/** Throws the error of the first refusal, if there is one. */
export function throwFirst(entries: readonly Entry[]): void {
  const first = entries.find(isRefusal);
  if (first !== undefined) throw first.error;
}

/**
 * Refuses pictures that would take each other's place.
 *
 * @throws {UsageError} naming two of them.
 */
export function checkNames(entries: readonly Entry[]): void {
  const writers = new Map<string, Job>();
  for (const job of entries) {
    if (isRefusal(job) || !job.replaces) continue;
    const path = resolve(job.name);
    const other = writers.get(path);
    if (other !== undefined) {
      const both = `${name(other)} and ${name(job)} would both go to ${job.name}`;
      throw new UsageError(`${both}: put {index} or {seed} into --output`);
    }
    writers.set(path, job);
  }
}

/**
 * Refuses files beside the pictures that cannot be written in `folder` or where their names lead from there.
 *
 * @throws {OutputError} saying why.
 */
export function checkOtherFiles({ grid, preview }: OptionValues, folder: string): void {
  for (const path of [grid, preview]) if (path !== undefined) checkWritable(resolve(folder, path));
}

/** Refuses the jobs whose files cannot be written in `folder` or where their names lead from there. */
export function checkPlaces(entries: readonly Entry[], folder: string): Entry[] {
  const errors = new Map<string, unknown>();
  return refuse(entries, ({ name }) => {
    if (name === "-") return;
    const path = resolve(folder, name);
    const place = dirname(path);
    if (!errors.has(place)) errors.set(place, caught(() => checkWritable(path)));
    const error = errors.get(place);
    if (error !== undefined) throw error;
  });
}

function caught(act: () => void): unknown {
  try {
    act();
    return undefined;
  } catch (error) {
    return error;
  }
}

function name({ index, line }: Place): string {
  return line === undefined ? `Picture ${index}` : `Picture ${index} of line ${line}`;
}
