/**
 * Pictures under the names that they were planned to have.
 * @module
 */
import { resolve } from "@std/path";
import { OutputError } from "./errors.ts";
import { KEPT, writeNew, writeWhole } from "./files.ts";
import type { Job, Placing } from "./jobs.ts";
import { numberedNames } from "./names.ts";

type Writing = Pick<Placing, "values" | "folder">;

/**
 * Writes a picture and returns under which name; standard output, `-`, is left to the report.
 *
 * @throws {OutputError} when it cannot be written.
 */
export function writePicture(
  { name, replaces }: Pick<Job, "name" | "replaces">,
  png: Uint8Array,
  run: Writing,
): string {
  if (name === "-") return name;
  if (!replaces) return writeNew(run.folder, freeNames(name, run), png)!;
  writeNamed(name, png, run);
  return name;
}

/**
 * Writes a file under this very name.
 *
 * @throws {OutputError} when it cannot be written, or something is there that is to be kept.
 */
export function writeNamed(name: string, png: Uint8Array, { values, folder }: Writing): void {
  if (!values["no-clobber"]) return writeWhole(resolve(folder, name), png);
  if (writeNew(folder, [name], png) === undefined) throw new OutputError(`Cannot write ${name}: ${KEPT}`);
}

/** Names like `name`, those apart under which the run writes something else. */
function* freeNames(name: string, { values: { grid = "", preview = "" }, folder }: Writing): Generator<string> {
  const others = [grid, preview].map((file) => resolve(folder, file));
  for (const free of numberedNames(name)) if (!others.includes(resolve(folder, free))) yield free;
}
