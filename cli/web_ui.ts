/**
 * Our options in the words of AUTOMATIC1111's web UI and of stable-diffusion.cpp, and theirs in ours.
 * @module
 */
import { findScheduler, webUiNames } from "../pipeline/schedulers/mod.ts";
import type { Infotext } from "./infotext.ts";
import type { OptionName } from "./options.ts";
import type { Described, PictureLine } from "./picture_line.ts";

/** What of another tool's picture can be made again. */
export interface ForeignPicture extends PictureLine {
  /** What made it, if it is known. */
  readonly software?: string;
  /** In words, what cannot be made again. */
  readonly lost: readonly string[];
}

/** Settings that say nothing of the picture's pixels, or nothing that changes what a Stable Diffusion 1.x model draws. */
const IDLE: readonly string[] = ["Version", "User", "Guidance", "Schedule type", "Model hash"];

/** The web UI's names of generators, and stable-diffusion.cpp's. */
const generators = new Map([["cpu", "cpu"], ["nv", "cuda"], ["gpu", "cuda"], ["cuda", "cuda"]]);

/** What both mean when they do not say; without `RNG` the noise came from the GPU. */
const UNSAID: Options = { "prompt-syntax": "a1111", "long-prompt": "chunk", "clip-skip": "1", "rng": "cuda" };

type Options = Readonly<Partial<Record<OptionName, string>>>;

/** What each setting becomes; nothing where we have no such value. */
const readers = new Map<string, (value: string) => Options | undefined>([
  ["Steps", (steps) => ({ steps })],
  ["CFG scale", (guidance) => ({ guidance })],
  ["Seed", (seed) => ({ seed })],
  ["Size", (size) => {
    const [, width, height] = /^(\d+)x(\d+)$/.exec(size) ?? [];
    return width && height ? { width, height } : undefined;
  }],
  // The value that stable-diffusion.cpp writes where none was given.
  ["Eta", (eta) => /^0\.?0*$|^inf$/.test(eta) ? {} : undefined],
  ["Eta DDIM", (eta) => ({ eta })],
  ["Clip skip", (skip) => ({ "clip-skip": skip })],
  ["RNG", (name) => {
    const rng = generators.get(name.toLowerCase());
    return rng === undefined ? undefined : { rng };
  }],
]);

/** The settings of a picture, in the web UI's names and order. */
export function settingsOf(
  { request, scheduler, model }: Described & { readonly scheduler: string },
): Map<string, string> {
  const { steps, guidance, seed, width, height, clipSkip = 1, eta = 0, rng, init } = request;
  const { sampler, schedule } = webUiNames(scheduler);
  return new Map([
    ["Steps", `${steps}`],
    ["Sampler", sampler],
    ["Schedule type", schedule],
    ["CFG scale", `${guidance}`],
    ["Seed", `${seed}`],
    ["Size", `${width}x${height}`],
    ["Model", model],
    ...(init ? [["Denoising strength", `${init.strength}`] as const] : []),
    ...(eta > 0 ? [["Eta DDIM", `${eta}`] as const] : []),
    ...(clipSkip > 1 ? [["Clip skip", `${clipSkip}`] as const] : []),
    ["RNG", rng === "cpu" ? "CPU" : "NV"],
  ]);
}

export function readForeign({ prompt, negativePrompt, settings }: Infotext): ForeignPicture {
  const options: Options = { "negative-prompt": negativePrompt, ...UNSAID };
  const lost: string[] = [];
  for (const [name, value] of settings) {
    if (IDLE.includes(name)) continue;
    const read = name === "Sampler" ? readSampler(value, settings.get("Schedule type")) : readers.get(name)?.(value);
    if (read !== undefined) Object.assign(options, read);
    else lost.push(`${name}: ${value}${hintOf(name, settings)}`);
  }
  const software = settings.get("Version");
  return { prompt, options, ...(software === undefined ? {} : { software }), lost };
}

function readSampler(sampler: string, schedule: string | undefined): Options | undefined {
  const scheduler = findScheduler(sampler, schedule);
  return scheduler === undefined ? undefined : { scheduler };
}

function hintOf(name: string, settings: Infotext["settings"]): string {
  if (name === "Denoising strength") return " (the picture that it began with is not in the file)";
  if (name === "Model") return " (--model says where it lies)";
  const schedule = settings.get("Schedule type");
  return name === "Sampler" && schedule !== undefined ? `, Schedule type: ${schedule}` : "";
}
