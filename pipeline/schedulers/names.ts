/**
 * What schedulers are called: by us, by AUTOMATIC1111's web UI, by stable-diffusion.cpp and by diffusers.
 * @module
 */
import { classes, type SchedulerVariant } from "./table.ts";

/** What the web UI writes for a scheduler, by which other tools know it. */
export interface WebUiNames {
  /** Its `Sampler`. */
  readonly sampler: string;
  /** Its `Schedule type`. */
  readonly schedule: string;
}

const variants = new Map(Object.values(classes).flatMap(({ names }) => Object.entries(names)));

/** The web UI's choice when nobody chooses: the plain schedule, but since version 1.9 not for these samplers. */
const AUTOMATIC = "Automatic";
const automatic = new Map([["DPM++ 2M", "Karras"], ["DPM++ 2M SDE", "Exponential"], ["DPM2", "Karras"]]);

/** Names of schedules; `Uniform` is the plain one. */
const PLAIN = "Uniform";
const schedules = new Map(
  [[PLAIN, PLAIN], ["Normal", PLAIN], ["Discrete", PLAIN], ["Karras", "Karras"], ["SGM Uniform", "SGM Uniform"]]
    .map(([name, schedule]) => [keyOf(name!), schedule!]),
);

/** The names that a scheduler can be asked for by, ours. */
export function schedulerNames(): readonly string[] {
  return [...variants.keys()];
}

/** What a scheduler of ours is, in a few words. */
export function schedulerSummary(name: string): string {
  return variantOf(name).summary;
}

/** The web UI's names of a scheduler of ours. */
export function webUiNames(name: string): WebUiNames {
  const [sampler, schedule = automatic.has(sampler) ? PLAIN : AUTOMATIC] = variantOf(name).webUi;
  return { sampler, schedule };
}

/** What else a scheduler of ours is called: by the web UI, and by diffusers where it is its class as it comes. */
export function schedulerAliases(name: string): readonly string[] {
  const [className] = Object.entries(classes).find(([, { names }]) => Object.keys(names)[0] === name) ?? [];
  return [variantOf(name).webUi.join(" "), ...(className === undefined ? [] : [className])];
}

/**
 * Our name of the scheduler that someone calls `name`, undefined when there is none. Capitals count for nothing, and
 * spaces, dashes and underscores neither, which makes stable-diffusion.cpp's `dpm++2m` of the web UI's `DPM++ 2M`. The
 * schedule may stand behind the name, as stable-diffusion.cpp and old versions of the web UI write it, or apart.
 */
export function findScheduler(name: string, schedule?: string): string | undefined {
  const key = keyOf(name);
  if (schedule !== undefined) {
    const choice = schedule === AUTOMATIC ? automaticOf(key) : schedules.get(keyOf(schedule));
    return choice === undefined ? undefined : findPair(key, choice);
  }
  const known = schedulerNames().find((own) => [own, ...schedulerAliases(own)].some((alias) => keyOf(alias) === key));
  if (known !== undefined) return known;
  const behind = [...schedules.keys()].find((end) => key.endsWith(end));
  return behind === undefined ? undefined : findPair(key.slice(0, -behind.length), schedules.get(behind)!);
}

function automaticOf(key: string): string {
  return [...automatic].find(([sampler]) => keyOf(sampler) === key)?.[1] ?? PLAIN;
}

/** By the key of a sampler, be it our name of it, and a schedule. */
function findPair(key: string, wanted: string): string | undefined {
  const found = [...variants].find(([own, { webUi: [sampler, schedule = PLAIN] }]) =>
    (keyOf(sampler) === key && schedule === wanted) || (keyOf(own) === key && wanted === PLAIN)
  );
  return found?.[0];
}

function variantOf(name: string): SchedulerVariant {
  const variant = variants.get(name);
  if (variant === undefined) {
    throw new RangeError(`Scheduler ${name} is not known; known: ${[...variants.keys()].join(", ")}`);
  }
  return variant;
}

/** What spellings of a name have in common; `k_` is what k-diffusion's users put before them. */
function keyOf(name: string): string {
  return name.toLowerCase().replace(/^k_/, "").replaceAll("++", "pp").replace(/[ _-]/g, "");
}
