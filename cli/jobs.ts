/**
 * What is going to be made: pictures with their seeds and names, and what is refused before the work starts.
 * @module
 */
import { basename, dirname, join, resolve } from "@std/path";
import { checkControls } from "./controls.ts";
import { UsageError } from "./errors.ts";
import { destinationOf, infoOf, type Places } from "./files.ts";
import { upscalerPaths } from "./hires.ts";
import { checkFileName, type Clash, countersOf, fillIn, findClash, type NamedFiles, readTemplate } from "./names.ts";
import type { OptionValues } from "./options.ts";
import type { Spec } from "./request.ts";
import { LAST_SEED } from "./values.ts";

/** Where a picture stands in a run. */
export interface Place {
  /** Which picture of the run, from 1. */
  readonly index: number;
  /** The line of the batch file that asks for it, from 1. */
  readonly line?: number | undefined;
}

/**
 * The `--count` pictures of a prompt: indices and seeds count up from those of the first. They become jobs one by one,
 * since a run can be of a billion.
 */
export interface Series extends Place {
  readonly spec: Spec;
  readonly seed: bigint;
  /** Names the files, with the counters left open; `-` is standard output. */
  readonly pattern: string;
  /** Whether they take the places of files of their names, or get numbers after their own. */
  readonly replaces: boolean;
  /** The picture that it is made of, where that is all there is. */
  readonly source?: string;
}

/** A picture that is going to be made. */
export interface Job extends Place {
  /** The same object for all pictures of a series. */
  readonly spec: Spec;
  readonly seed: bigint;
  /** The file it goes to; `-` is standard output. */
  readonly name: string;
  readonly replaces: boolean;
}

/** A picture that is not made, and why. */
export interface Failure extends Place {
  readonly status: "error";
  readonly error: Error;
}

/** What a run is asked to make, in its order. */
export type Plan = readonly (Series | Failure)[];

export function isFailure<Other extends object>(item: Other | Failure): item is Failure {
  return "error" in item;
}

/**
 * The pictures of `spec`, of which the first has this index and seed. Without `--output` they are named after `template`.
 *
 * @throws {UsageError} when a seed would not fit into 64 bits, the template cannot be filled in, or options for
 * ControlNets belong to none.
 */
export function createSeries(
  spec: Spec,
  { template, ...first }: Omit<Series, "spec" | "pattern"> & { readonly template: string },
): Series {
  const { count, output } = spec.values;
  checkControls(spec.values);
  if (first.seed + BigInt(count - 1) > LAST_SEED) {
    throw new UsageError(`--count ${count} from seed ${first.seed} exceeds the largest seed, ${LAST_SEED}`);
  }
  const pattern = readTemplate(output ?? template, spec.prompt);
  return { ...first, spec, pattern, replaces: first.replaces || output !== undefined };
}

/** The pictures of a series, or what keeps them from being made. */
export function* jobsOf(item: Series | Failure): Generator<Job | Failure> {
  if (isFailure(item)) return yield item;
  const { spec, line, replaces } = item;
  for (let offset = 0; offset < spec.values.count; offset++) {
    const counters = countersOf(item, offset);
    yield { ...counters, spec, line, name: fillIn(item.pattern, counters), replaces };
  }
}

/** How many pictures an item of a plan stands for. */
export function countOf(item: Series | Failure): number {
  return isFailure(item) ? 1 : item.spec.values.count;
}

/** Files that a run reads or writes, and who wants them, for messages. */
interface Wanted extends NamedFiles {
  readonly who: string | Place;
  /** The pattern as it was written. */
  readonly written: string;
}

/** Pictures that are checked before the work starts as far as it goes without a GPU; others, when their turn comes. */
export const AHEAD = 100;

/**
 * Refuses a plan two of whose files would be the same: pictures, contact sheet, preview, and those that pictures start from;
 * and a VAE for previews that are not written.
 *
 * @throws {UsageError} saying which.
 */
export function checkNames(plan: Plan, values: OptionValues, folder: string): void {
  if (values["preview-vae"] !== undefined && values.preview === undefined) {
    throw new UsageError("--preview-vae requires --preview, the file that it decodes previews for");
  }
  const wanted: Wanted[] = [];
  const folders = new Map<string, string>();
  const want = (written: string, of: Omit<Wanted, "pattern" | "written">) => {
    const path = resolve(folder, written);
    // Asking for links takes 20 µs a name.
    const pattern = realFolder(wanted.length <= AHEAD && of.count === 1 ? withoutLinks(path) : path, folders);
    wanted.push({ ...of, pattern, written });
  };
  const single = { index: 0, seed: 0n, count: 1 };
  for (const name of ["grid", "preview"] as const) {
    const file = values[name];
    if (file === undefined) continue;
    if (file === "-") throw new UsageError(`--${name} goes to a file, and - is standard output: name a file`);
    checkFileName(file, name);
    want(file, { ...single, isRead: false, who: `--${name}` });
  }
  const read = new Set<string>();
  for (const item of plan) {
    if (isFailure(item)) continue;
    const { spec: { values }, pattern, index, seed, line, source } = item;
    const starts = [["--init-image", values["init-image"]], ["--mask", values.mask]] as const;
    const added = (["lora", "embedding"] as const).flatMap((name) =>
      values[name].map(({ file }) => [`--${name}`, file] as const)
    );
    const controls = values["control-image"].map((file) => ["--control-image", file] as const);
    const all = [...starts, ...added, ...controls, ...upscalerPaths(values), [`${source}`, source] as const];
    for (const [who, file] of all) {
      if (file === undefined || read.has(file)) continue;
      read.add(file);
      want(file, { ...single, isRead: true, who });
    }
    if (pattern !== "-") want(pattern, { index, seed, count: values.count, isRead: false, who: { index, line } });
  }
  const clash = findClash(wanted);
  if (clash !== undefined) throw new UsageError(describeClash(clash));
}

/** The path with its folder as the system knows it, so that two spellings are the same. */
function realFolder(path: string, known: Map<string, string>): string {
  const folder = dirname(path);
  if (!known.has(folder)) {
    known.set(
      folder,
      known.size > AHEAD ? folder : orElse(() => Deno.realPathSync(folder), folder),
    );
  }
  return join(known.get(folder)!, basename(path));
}

function withoutLinks(path: string): string {
  return orElse(() => destinationOf(path), path);
}

/** What is wrong with a path is said where it is opened. */
function orElse(find: () => string, otherwise: string): string {
  try {
    return find();
  } catch {
    return otherwise;
  }
}

function describeClash({ one, other }: Clash<Wanted>): string {
  const [[first, offset], [second, secondOffset]] = [one, other];
  const name = fillIn(second.written, countersOf(second, secondOffset));
  const [a, b] = [describeWho(first, offset), describeWho(second, secondOffset)];
  if (typeof first.who === "string" || typeof second.who === "string") {
    return `${a} and ${b} are the same file, ${name}: name another`;
  }
  return `${a} and ${b} would both go to ${name}: put {index} or {seed} into --output`;
}

function describeWho({ who }: Wanted, offset: number): string {
  if (typeof who === "string") return who;
  return `Picture ${who.index + offset}${who.line === undefined ? "" : ` of line ${who.line}`}`;
}

/** What places are checked with: the run's options, where names begin, and what is known of folders. */
export interface Placing {
  readonly values: OptionValues;
  readonly folder: string;
  readonly places: Places;
}

/**
 * Refuses a plan with a failure, or of which one of the first {@link AHEAD} pictures, the contact sheet or the preview
 * cannot be written. Under `--continue-on-error` pictures wait for their turn.
 *
 * @throws {OutputError | UsageError} saying why.
 */
export function checkPlaces(plan: Plan, placing: Placing): void {
  const { values, folder, places } = placing;
  for (const file of [values.grid, values.preview]) {
    if (file !== undefined) places.check(resolve(folder, file), values["no-clobber"]);
  }
  if (values["continue-on-error"]) return;
  for (const item of plan) if (isFailure(item)) throw item.error;
  const jobs = Iterator.from(plan.slice(0, AHEAD)).flatMap(jobsOf).take(AHEAD);
  for (const job of jobs) if (!isFailure(job)) checkPlace(job, placing);
}

/** @throws {OutputError | UsageError} when a picture cannot be written. */
export function checkPlace({ name, replaces }: Job, { values, folder, places }: Placing): void {
  if (name === "-") return;
  const path = resolve(folder, name);
  if (!replaces) places.checkFolder(path);
  else if (!(values["skip-existing"] && infoOf(path))) places.check(path, values["no-clobber"]);
}
