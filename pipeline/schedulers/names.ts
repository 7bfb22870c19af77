/**
 * What schedulers are called here, in AUTOMATIC1111's web UI, in stable-diffusion.cpp and in diffusers.
 * @module
 */
import { classes, type SchedulerVariant } from "./table.ts";

/** What the web UI writes for a scheduler as `Sampler` and `Schedule type`, by which other tools know it. */
export interface WebUiNames {
  readonly sampler: string;
  readonly schedule: string;
}

const variants = new Map(Object.values(classes).flatMap(({ names }) => Object.entries(names)));

/** The web UI's default: the plain schedule, but since version 1.9 not for these samplers. */
const AUTOMATIC = "Automatic";
const automatic = new Map([["DPM++ 2M", "Karras"], ["DPM++ 2M SDE", "Exponential"], ["DPM2", "Karras"]]);

const PLAIN = "Uniform";
const schedules = new Map(
  [[PLAIN, PLAIN], ["Normal", PLAIN], ["Discrete", PLAIN], ["Karras", "Karras"], ["SGM Uniform", "SGM Uniform"]]
    .map(([name, schedule]) => [keyOf(name!), schedule!]),
);

/** Our names of schedulers. */
export function schedulerNames(): readonly string[] {
  return [...variants.keys()];
}

export function schedulerSummary(name: string): string {
  return variantOf(name).summary;
}

export function webUiNames(name: string): WebUiNames {
  const [sampler, schedule = automatic.has(sampler) ? PLAIN : AUTOMATIC] = variantOf(name).webUi;
  return { sampler, schedule };
}

/** What else a scheduler is called: by the web UI, and by diffusers if it is a class with its defaults. */
export function schedulerAliases(name: string): readonly string[] {
  const [className] = Object.entries(classes).find(([, { names }]) => Object.keys(names)[0] === name) ?? [];
  return [variantOf(name).webUi.join(" "), ...(className === undefined ? [] : [className])];
}

/**
 * Our name of the scheduler that someone calls `name`, undefined when there is none. Capitals, spaces, dashes and
 * underscores do not matter: stable-diffusion.cpp's `dpm++2m` is the web UI's `DPM++ 2M`. The schedule may follow the
 * name, as stable-diffusion.cpp and old versions of the web UI write it, or be given apart.
 */
export function findScheduler(name: string, schedule?: string): string | undefined {
  const key = keyOf(name);
  if (schedule !== undefined) {
    const choice = schedule === AUTOMATIC ? automaticOf(key) : schedules.get(keyOf(schedule));
    return choice === undefined ? undefined : findPair(key, choice);
  }
  const known = schedulerNames().find((own) => [own, ...schedulerAliases(own)].some((alias) => keyOf(alias) === key));
  if (known !== undefined) return known;
  const end = [...schedules.keys()].find((schedule) => key.endsWith(schedule));
  return end === undefined ? undefined : findPair(key.slice(0, -end.length), schedules.get(end)!);
}

function automaticOf(key: string): string {
  return [...automatic].find(([sampler]) => keyOf(sampler) === key)?.[1] ?? PLAIN;
}

/** By the key of a sampler, which may be our name of it, and a schedule. */
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

/** What spellings of a name have in common; k-diffusion's users put `k_` before it. */
function keyOf(name: string): string {
  return name.toLowerCase().replace(/^k_/, "").replaceAll("++", "pp").replace(/[ _-]/g, "");
}
