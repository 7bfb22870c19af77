/**
 * The text that AUTOMATIC1111's web UI puts into a picture under `parameters`, and stable-diffusion.cpp after it
 * (`create_infotext` in its modules/processing.py, `parse_generation_parameters` in modules/infotext_utils.py): our
 * options in its words, and its settings in ours.
 * @module
 */
import { basename } from "@std/path";
import { LIMITS } from "../pipeline/limits.ts";
import type { Control, Hires, Request } from "../pipeline/request.ts";
import { findScheduler, webUiNames } from "../pipeline/schedulers/mod.ts";
import { stepsLeftOut } from "../pipeline/start.ts";
import type { OptionTexts } from "./parse.ts";
import type { PictureLine } from "./request.ts";

/** Prompts, and settings by the names that the web UI gives them, in their order. */
export interface Infotext {
  readonly prompt: string;
  /** Its line is left out when it is empty. */
  readonly negativePrompt: string;
  readonly settings: ReadonlyMap<string, string>;
}

/** What of another tool's picture can be made again. */
export interface ForeignPicture extends PictureLine {
  /** What made it, if it is known. */
  readonly software?: string;
  /** In words, what cannot be made again. */
  readonly lost: readonly string[];
}

const NEGATIVE = "Negative prompt:";

/** Letters that a setting's name may have; a letter is Python's `\w`. */
const NAME = /[\p{L}\p{N}_ \-/]+/gu;
/** Its value, from the colon on, and what follows it. */
const VALUE = /:\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/uy;

/** Fewer settings than this are taken for a line of the prompt. */
const FEWEST_SETTINGS = 3;

/** Ends the settings of stable-diffusion.cpp: JSON, whose commas and colons would be taken for settings. */
const SDCPP = ", SDCPP: {";

/** Settings that say nothing of the picture's pixels, or nothing that changes what Stable Diffusion draws. */
const IDLE: readonly string[] = ["Version", "User", "Guidance", "Schedule type", "Model hash", "VAE hash"];

/** The web UI's names of generators, and stable-diffusion.cpp's. */
const generators = new Map([["cpu", "cpu"], ["nv", "cuda"], ["gpu", "cuda"], ["cuda", "cuda"]]);

/** What both mean when they do not say; without `RNG` the noise came from the GPU. */
const UNSAID: OptionTexts = { "prompt-syntax": "a1111", "long-prompt": "chunk", "clip-skip": "1", "rng": "cuda" };

/** What each setting becomes; undefined where we have no such value. */
const readers = new Map<string, (value: string) => OptionTexts | undefined>([
  ["Steps", (steps) => ({ steps })],
  ["CFG scale", (guidance) => ({ guidance })],
  ["CFG Rescale phi", (rescale) => ({ "guidance-rescale": rescale })],
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

/** The settings of a picture, in the web UI's names and order; those of its extensions are last. */
export function settingsOf(
  request: Request,
  { scheduler, model, vae, controlNets }: {
    readonly scheduler: string;
    readonly model: string;
    readonly vae?: string | undefined;
    readonly controlNets: readonly string[];
  },
): Map<string, string> {
  const {
    steps,
    guidance,
    guidanceRescale = 0,
    seed,
    width,
    height,
    clipSkip = 1,
    eta = 0,
    rng,
    init,
    hires,
    upscaler,
    controls = [],
  } = request;
  const { sampler, schedule } = webUiNames(scheduler);
  const settings: readonly (readonly [name: string, value: unknown, holds?: boolean])[] = [
    ["Steps", steps],
    ["Sampler", sampler],
    ["Schedule type", schedule],
    ["CFG scale", guidance],
    ["Seed", seed],
    ["Size", `${width}x${height}`],
    ["Model", model],
    ["VAE", vae && basename(vae), vae !== undefined],
    ["Denoising strength", (init ?? hires)?.strength, (init ?? hires) !== undefined],
    ["Eta DDIM", eta, eta > 0],
    ["Clip skip", clipSkip, clipSkip > 1],
    ["RNG", rng === "cpu" ? "CPU" : "NV"],
    ["CFG Rescale phi", guidanceRescale, guidanceRescale > 0],
    ...controls.map((control, i) => [`ControlNet ${i}`, describeControl(control, controlNets[i]!)] as const),
    ["Hires upscale", hires?.scale, hires !== undefined],
    // The web UI counts those that are run.
    ["Hires steps", hires && hires.steps - stepsLeftOut({ steps: hires.steps, init: hires }), hires !== undefined],
    ["Hires upscaler", hires && webUiUpscaler(hires), hires !== undefined],
    ["Postprocess upscale by", upscaler?.file.scale, upscaler !== undefined],
    ["Postprocess upscaler", upscaler && webUiUpscaler({ upscaler }), upscaler !== undefined],
  ];
  return new Map(settings.flatMap(([name, value, holds = true]) => holds ? [[name, `${value}`]] : []));
}

/** A ControlNet as the web UI's extension writes it (Mikubill/sd-webui-controlnet, `scripts/infotext.py`). */
function describeControl({ canny, strength, start, end }: Control, path: string): string {
  const settings = [
    ["Module", canny ? "canny" : "none"],
    ["Model", basename(path).replace(/\.safetensors$/i, "")],
    ["Weight", strength],
    ["Resize Mode", "Just Resize"],
    ...(canny ? [["Threshold A", canny[0]], ["Threshold B", canny[1]]] : []),
    ["Guidance Start", start],
    ["Guidance End", end],
    ["Control Mode", "Balanced"],
  ];
  return settings.map(([name, value]) => `${name}: ${value}`).join(", ");
}

function webUiUpscaler({ upscaler }: Pick<Hires, "upscaler">): string {
  if (typeof upscaler === "object") return basename(upscaler.name).replace(/\.safetensors$/i, "");
  return { latent: "Latent", lanczos: "Lanczos" }[upscaler];
}

/** What a web UI's picture can be made again from. */
export function readForeign({ prompt, negativePrompt, settings }: Infotext): ForeignPicture {
  const options = { "negative-prompt": negativePrompt, ...UNSAID };
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

function readSampler(sampler: string, schedule: string | undefined): OptionTexts | undefined {
  const scheduler = findScheduler(sampler, schedule);
  return scheduler === undefined ? undefined : { scheduler };
}

function hintOf(name: string, settings: Infotext["settings"]): string {
  if (name === "Denoising strength" && !settings.has("Hires upscale")) {
    return " (the picture that it began with is not in the file)";
  }
  if (name === "Model" || name === "VAE") return ` (--${name.toLowerCase()} says where it is)`;
  const schedule = settings.get("Schedule type");
  return name === "Sampler" && schedule !== undefined ? `, Schedule type: ${schedule}` : "";
}

/** The text, of as many lines as the prompts have and one for the settings. */
export function formatInfotext({ prompt, negativePrompt, settings }: Infotext): string {
  const negative = negativePrompt === "" ? "" : `\n${NEGATIVE} ${negativePrompt}`;
  return `${prompt}${negative}\n${formatSettings(settings)}`.trim();
}

/** The line of the settings alone. */
export function formatSettings(settings: Infotext["settings"]): string {
  return Array.from(settings, ([name, value]) => `${name}: ${quote(value)}`).join(", ");
}

/** The settings are the last line, when it looks like them; the negative prompt begins with the line that says so. */
export function parseInfotext(text: string): Infotext {
  const lines = text.trim().split("\n").map((line) => line.trim());
  const last = (lines.at(-1) ?? "").split(SDCPP)[0]!;
  const matches = readSettings(last);
  const found = matches.length < FEWEST_SETTINGS ? [] : matches;
  const prompts = found.length === 0 ? lines : lines.slice(0, -1);
  const begins = prompts.findIndex((line) => line.startsWith(NEGATIVE));
  const [positive, negative] = begins < 0 ? [prompts, []] : [prompts.slice(0, begins), prompts.slice(begins)];
  const withoutName = (line: string) => line.startsWith(NEGATIVE) ? line.slice(NEGATIVE.length).trim() : line;
  return {
    prompt: positive.join("\n"),
    negativePrompt: negative.map(withoutName).join("\n").trimStart(),
    settings: new Map(found),
  };
}

/**
 * What `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)` finds, in time that is linear: a name is looked for once
 * in each run of its letters, not from every letter on.
 *
 * @throws {RangeError} when there are too many.
 */
function readSettings(line: string): [name: string, value: string][] {
  const settings: [string, string][] = [];
  for (let at = 0; at < line.length;) {
    NAME.lastIndex = at;
    const run = NAME.exec(line);
    if (run === null) break;
    at = NAME.lastIndex;
    const name = run[0].replace(/^[ \-/]+/, "");
    VALUE.lastIndex = at;
    const value = name.length > 1 && VALUE.exec(line);
    if (!value) continue;
    at = VALUE.lastIndex;
    settings.push([name, unquote(value[1]!)]);
    if (settings.length > LIMITS.textSettings) throw new RangeError(`it has more than ${LIMITS.textSettings} settings`);
  }
  return settings;
}

function quote(value: string): string {
  return /[,\n:]/.test(value) ? JSON.stringify(value) : value;
}

function unquote(value: string): string {
  if (!/^".*"$/s.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
