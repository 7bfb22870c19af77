/**
 * From prompt and options, on a command line, in a line of a batch or in a picture's file, to a request.
 * @module
 */
import type { CompleteRequest, Model } from "../pipeline/mod.ts";
import { LIMITS } from "../pipeline/limits.ts";
import { type Request, RequestError, SIZE_SETTINGS, type SizeSetting } from "../pipeline/request.ts";
import { showCount } from "./byte_count.ts";
import type { Given } from "./commands.ts";
import { readControls } from "./controls.ts";
import type { Environment, PipelineModule } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { readTextFile } from "./reading.ts";
import { type ImageFiles, initSize, readInit } from "./init_image.ts";
import type { EmbeddingFiles } from "./embeddings.ts";
import { readHires, type UpscalerFiles } from "./hires.ts";
import type { LoraFiles } from "./loras.ts";
import { optionEntry, optionNames, type OptionValues } from "./options.ts";
import type { OptionText, OptionTexts } from "./parse.ts";
import { suggest } from "./suggestion.ts";
import { promptText } from "./values.ts";

/** A prompt and its options, as the command line would hold them. */
export interface PictureLine {
  readonly prompt: string;
  readonly options: OptionTexts;
}

/** What pictures are made from that differ by their seeds only. */
export interface Spec extends PictureLine {
  readonly values: OptionValues;
}

/**
 * The one positional argument, the file that `--prompt-file` names, which may be empty, or all of standard input when
 * that is not a terminal.
 *
 * @throws {UsageError} `nothing` when there is no prompt; otherwise when there are several, or the file cannot be read.
 */
export async function readPrompt(
  { positionals, values }: Given,
  { stdin, folder }: Environment,
  nothing = new UsageError("No prompt: what should the picture show?", { showHelp: true }),
): Promise<string> {
  const file = values["prompt-file"];
  const most = LIMITS.promptBytes;
  if (positionals.length > 1) {
    throw new UsageError(`A prompt of several words needs quotes: ${JSON.stringify(positionals.join(" "))}`);
  }
  if (file !== undefined) {
    if (positionals.length === 0) return readTextFile(file, { folder, what: "--prompt-file", most }).trim();
    throw new UsageError("A prompt and --prompt-file are two prompts: choose one");
  }
  const prompt = positionals[0] ?? (stdin.isTerminal() ? "" : (await stdin.read(most)).trim());
  if (prompt !== "") return checkPrompt(prompt);
  throw nothing;
}

/** @throws {UsageError} when a prompt is longer than any that makes sense. */
export function checkPrompt(prompt: string): string {
  try {
    return promptText(prompt);
  } catch (cause) {
    throw new UsageError(`The prompt ${(cause as Error).message}`, { cause });
  }
}

/**
 * Reads a JSON object that holds a prompt, and options by their names.
 *
 * @throws {UsageError} when it is not one, or has an option that does not belong to a picture.
 */
export function readPictureLine(json: string): PictureLine {
  const { prompt, ...options } = parseObject(json);
  if (typeof prompt !== "string") throw new UsageError('it has no prompt: it needs "prompt" and a text');
  return { prompt: checkPrompt(prompt), options: Object.fromEntries(Object.entries(options).map(readOption)) };
}

/** A number as it is written: a seed has more digits than a number holds. */
class Digits {
  constructor(readonly text: string) {}
}

function parseObject(json: string): Record<string, unknown> {
  const keepDigits = (_key: string, value: unknown, { source }: { source?: string }) =>
    typeof value === "number" ? new Digits(source!) : value;
  let parsed: unknown;
  try {
    parsed = JSON.parse(json, keepDigits as (key: string, value: unknown) => unknown);
  } catch (cause) {
    throw new UsageError(`it is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new UsageError("it is not a JSON object");
  }
  // The last of equal names would win in silence. Names within other objects count, too: no value may be an object.
  const names = new Set<string>();
  for (const text of json.match(STRINGS) ?? []) {
    if (!text.endsWith(":")) continue;
    const name = JSON.parse(text.slice(0, text.lastIndexOf('"') + 1));
    if (names.has(name)) throw new UsageError(`${name} is given twice: give it once`);
    names.add(name);
  }
  return { ...parsed };
}

/** The strings of a JSON text; a colon follows those that are names. */
const STRINGS = /"(?:[^"\\]|\\.)*"(?:\s*:)?/g;

/** Options that a line of a batch may have. */
const PICTURE_OPTIONS = optionNames.filter((name) => optionEntry(name).scope !== undefined);

function readOption([name, value]: readonly [string, unknown]): readonly [string, OptionText] {
  const option = PICTURE_OPTIONS.find((known) => known === name);
  if (option === undefined) {
    const meant = suggest(name, PICTURE_OPTIONS);
    throw new UsageError(
      `${name} is not an option of a picture${meant === undefined ? "" : `: did you mean ${meant}?`}`,
    );
  }
  if (optionEntry(option).read === undefined) {
    if (typeof value === "boolean") return [name, value];
    throw new UsageError(`${name} must be true or false`);
  }
  if (optionEntry(option).repeats && Array.isArray(value)) {
    const texts = value.map((item) => item instanceof Digits ? item.text : item);
    if (texts.length <= LIMITS.loras && texts.every((item) => typeof item === "string")) return [name, texts];
    throw new UsageError(`${name} must be a text, or a list of at most ${LIMITS.loras}`);
  }
  if (typeof value === "string") return [name, value];
  if (value instanceof Digits) return [name, value.text];
  throw new UsageError(`${name} must be a text or a number`);
}

/** A seed of 32 bits, which every other tool takes, too. */
export function drawSeed(): bigint {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0]!);
}

/**
 * The one place where options become fields of a request.
 *
 * @throws {UsageError} when an init or control image cannot be read, or a prompt names a LoRA without saying which.
 * @throws {ModelNotFoundError | ModelFileError} when a LoRA, a textual inversion or an upscaler is absent, damaged or another
 * model's.
 */
export function createRequest(
  { prompt, values }: Spec,
  { seed, model: { defaults }, ...files }: {
    readonly seed: bigint;
    readonly model: Model;
    readonly images: ImageFiles;
    readonly loras: LoraFiles;
    readonly embeddings: EmbeddingFiles;
    readonly upscalers: UpscalerFiles;
  },
): Request {
  const { scheduler, prediction, eta, "guidance-rescale": guidanceRescale, "upscale-model": enlarging } = values;
  const init = readInit(values, files.images);
  const loras = files.loras.read(prompt, values);
  const embeddings = files.embeddings.read(values);
  const controls = readControls(values, files.images);
  const { steps = defaults.steps } = values;
  const hires = readHires(values, steps, files.upscalers);
  const shape = init?.image ?? controls[0]?.image;
  const { width = defaults.width, height = defaults.height } = shape ? initSize(shape, values, defaults) : values;
  return {
    prompt,
    negativePrompt: values["negative-prompt"],
    promptSyntax: values["prompt-syntax"],
    longPrompt: values["long-prompt"] ?? defaults.longPrompt,
    clipSkip: values["clip-skip"],
    seed,
    steps,
    guidance: values.guidance ?? defaults.guidance,
    ...(guidanceRescale !== undefined && { guidanceRescale }),
    width,
    height,
    ...sizesOf(values),
    ...(init && { init }),
    ...(hires && { hires }),
    ...(enlarging !== undefined && { upscaler: files.upscalers.read(enlarging) }),
    ...(loras.length > 0 && { loras }),
    ...(embeddings.length > 0 && { embeddings }),
    ...(controls.length > 0 && { controls }),
    vaeTiling: values["vae-tiling"],
    ...(scheduler !== undefined && { scheduler }),
    ...(prediction !== undefined && { prediction }),
    ...(eta !== undefined && { eta }),
    rng: values.rng,
  };
}

/** What was said of the original that the picture is to look as if it was made from. */
function sizesOf(values: OptionValues): Partial<Record<SizeSetting, number>> {
  const said = SIZE_SETTINGS.map((setting) => [setting, values[optionOf(setting) as SizeOption]] as const);
  return Object.fromEntries(said.filter(([, value]) => value !== undefined));
}

type SizeOption = "original-width" | "original-height" | "crop-left" | "crop-top";

/** The option that becomes a field of a request: `negativePrompt` is `negative-prompt`. */
export function optionOf(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** @throws {UsageError} in the words of the command line, `--clip-skip 13: ...`, where the request is refused. */
export async function completeRequest(
  request: Request,
  { module, model, strength }: {
    readonly module: Pick<PipelineModule, "complete">;
    readonly model: Model;
    /** The strength that was asked for, if any. */
    readonly strength: number | undefined;
  },
): Promise<CompleteRequest> {
  try {
    return await module.complete(model, request);
  } catch (cause) {
    if (!(cause instanceof RequestError)) throw cause;
    throw new UsageError(describeRefusal(cause, request, strength), { cause });
  }
}

function describeRefusal({ setting, message }: RequestError, request: Request, strength: number | undefined): string {
  if (setting === "prompt") return `The prompt: ${message}`;
  if (setting === "negativePrompt") return `--negative-prompt: ${message}`;
  if (setting === "controls") return `--controlnet: ${message}`;
  if (setting === "loras" || setting === "embeddings") return `--${setting.slice(0, -1)}: ${message}`;
  if (setting === "hires") return `--hires ${request.hires!.scale}: ${message}`;
  if (setting === "upscaler") return `--upscale-model ${request.upscaler!.name}: ${message}`;
  if (setting !== "init") return `--${optionOf(setting)} ${request[setting]}: ${message}`;
  if (message.startsWith("strength")) {
    if (strength !== undefined) return `--${message}`;
    const steps = showCount(request.steps, "step");
    return `With ${steps} the default strength of ${
      request.init!.strength
    } leaves nothing to do: give --strength 1 or more steps`;
  }
  return `--${request.init ? "mask" : "init-image"}: ${message}`;
}
