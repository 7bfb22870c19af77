/**
 * The file that remembers which kernels were fastest on this machine. It is a convenience: whatever is wrong with it,
 * pictures are made without it.
 * @module
 */
import { dirname, join } from "@std/path";
import { cacheFolder } from "../pipeline/cache_folder.ts";
import type { AdapterInfo, KernelTimes, SelectionOptions, TimingStore } from "../pipeline/mod.ts";
import { readDriver, VERSION } from "./build.ts";
import { type Environment, say } from "./environment.ts";
import type { OptionValues } from "./options.ts";
import { Places, writeWhole } from "./files.ts";

/** Times by operation, by machine. */
type Timings = Readonly<Record<string, Readonly<Record<string, KernelTimes>>>>;

/** How kernels are selected: with the memory of earlier runs, where there is a place for it. */
export function selectionOf(values: Pick<OptionValues, "tune">, environment: Environment): SelectionOptions {
  const folder = cacheFolder(environment.variable);
  const notice = (text: string) => say(environment, text);
  return {
    tune: values.tune,
    ...(folder !== undefined && { store: openTimings(join(folder, "kernels.json"), notice) }),
  };
}

/** The timings in the file at `path`. A file that holds anything else is written anew, and `notice` hears of it. */
export function openTimings(path: string, notice: (text: string) => void): TimingStore {
  return {
    read(adapter) {
      const timings = readTimings(path, notice);
      return new Map(Object.entries(timings[describeMachine(adapter)] ?? {}));
    },
    write(adapter, times) {
      const timings = readTimings(path, notice);
      const machine = describeMachine(adapter);
      writeTimings(path, { ...timings, [machine]: { ...timings[machine], ...Object.fromEntries(times) } });
    },
  };
}

/** All that decides how fast a kernel is, as far as a program can find it out. */
function describeMachine({ description, vendor, architecture, webgpu }: AdapterInfo): string {
  const driver = readDriver();
  return [
    `${description}, vendor ${vendor}`,
    ...(architecture ? [`architecture ${architecture}`] : []),
    ...(driver ? [`driver ${driver}`] : []),
    webgpu,
    `denoise ${VERSION}`,
  ].join(", ");
}

function readTimings(path: string, notice: (text: string) => void): Timings {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch {
    // Absent, or not for this program to read.
    return {};
  }
  try {
    const { schema, machines } = JSON.parse(text);
    if (schema === 1 && isRecord(machines, (machine) => isRecord(machine, isTimes))) return machines as Timings;
  } catch {
    // Not JSON, or null.
  }
  notice(`${path} does not hold kernel timings and is written anew`);
  writeTimings(path, {});
  return {};
}

function isRecord(value: unknown, holds: (value: unknown) => boolean): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every(holds);
}

function isTimes(value: unknown): boolean {
  return isRecord(value, (time) => time === null || typeof time === "number" && time >= 0);
}

function writeTimings(path: string, machines: Timings): void {
  try {
    Deno.mkdirSync(dirname(path), { recursive: true });
    new Places().check(path);
    writeWhole(path, new TextEncoder().encode(`${JSON.stringify({ schema: 1, machines }, undefined, 1)}\n`));
  } catch {
    // A folder that is read-only or full: the next run times again.
  }
}
