/**
 * Option values, a prompt and a seed to a complete request, and what of it can be refused without a GPU.
 * @module
 */
import type { Model } from "../pipeline/mod.ts";
import { readTextConfig } from "../pipeline/config.ts";
import { parsePrompt } from "../pipeline/prompt/grammar.ts";
import type { Request } from "../pipeline/request.ts";
import { scheduleFor } from "../pipeline/schedulers/mod.ts";
import { checkClipSkip } from "../pipeline/text_encoder.ts";
import type { Tokenizer } from "../pipeline/tokenizer.ts";
import { stepsLeftOut } from "../pipeline/start.ts";
import type { PipelineModule } from "./environment.ts";
import { UsageError } from "./errors.ts";
import type { ImageFiles } from "./image_files.ts";
import { initSize, readInit } from "./init_image.ts";
import type { OptionValues } from "./options.ts";

/** What a request needs beside the options. */
export interface Subject {
  /** What to draw. */
  readonly prompt: string;
  /** Seed of the noise, drawn by now. */
  readonly seed: bigint;
  /** Fills in what no option says. */
  readonly model: Model;
  /** Reads the pictures that options name. */
  readonly files: ImageFiles;
}

/** A seed of 32 bits, which every other tool takes, too. */
export function drawSeed(): bigint {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0]!);
}

/**
 * The one place where options become fields of a request.
 *
 * @throws {UsageError} when a picture cannot be read.
 */
export function completeRequest(values: OptionValues, { prompt, seed, model, files }: Subject): Request {
  const { steps, guidance, scheduler, eta, rng } = values;
  const { defaults } = model;
  const init = readInit(values, files);
  const { width = defaults.width, height = defaults.height } = init ? initSize(init.image, values, defaults) : values;
  return {
    prompt,
    negativePrompt: values["negative-prompt"],
    promptSyntax: values["prompt-syntax"],
    longPrompt: values["long-prompt"] ?? defaults.longPrompt,
    clipSkip: values["clip-skip"],
    seed,
    steps: steps ?? defaults.steps,
    guidance: guidance ?? defaults.guidance,
    width,
    height,
    ...(init && { init }),
    vaeTiling: values["vae-tiling"],
    ...(scheduler === undefined ? {} : { scheduler }),
    ...(eta === undefined ? {} : { eta }),
    rng,
  };
}

/**
 * Refuses a scheduler that cannot do what is asked.
 *
 * @throws {UsageError} for a named scheduler, which is the caller's choice.
 * @throws {ModelFileError} for the model's own.
 */
export function checkSchedule(
  request: Request,
  { config }: Model,
  { ModelFileError }: PipelineModule,
): void {
  const { steps, scheduler, eta } = request;
  try {
    scheduleFor(config.scheduler, { steps, name: scheduler, start: stepsLeftOut(request) });
  } catch (cause) {
    const { message } = cause as Error;
    if (scheduler !== undefined) throw new UsageError(`--scheduler ${scheduler}: ${message}`, { cause });
    throw new ModelFileError("scheduler_config.json", message, { cause });
  }
  refused(`--eta ${eta}`, () => scheduleFor(config.scheduler, { steps, name: scheduler, eta }));
}

/**
 * Refuses weights in the prompts that are too large, and a layer that the text encoder has not.
 *
 * @throws {UsageError} naming what asks for it.
 */
export function checkPrompts(request: Request, { config }: Model): void {
  const { prompt, negativePrompt, clipSkip = 1 } = request;
  checkWeights("The prompt", prompt, request);
  checkWeights("--negative-prompt", negativePrompt, request);
  refused(`--clip-skip ${clipSkip}`, () => checkClipSkip(clipSkip, readTextConfig(config.textEncoder)));
}

/**
 * Refuses weights in `text` that are too large.
 *
 * @throws {UsageError} beginning with `name`.
 */
export function checkWeights(name: string, text: string, { promptSyntax }: Pick<Request, "promptSyntax">): void {
  if (promptSyntax === "a1111") refused(name, () => parsePrompt(text));
}

function refused(what: string, check: () => void): void {
  try {
    check();
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new UsageError(`${what}: ${cause.message}`, { cause });
  }
}

/** A line for each text of which the model reads a part only. */
export async function describeCuts(
  request: Request,
  tokenizer: Tokenizer,
  { encodePrompt }: PipelineModule,
): Promise<string[]> {
  const texts = [["prompt", request.prompt], ["negative prompt", request.negativePrompt]] as const;
  const lines = await Promise.all(texts.map(async ([name, text]) => {
    const { chunks, count, cut } = await encodePrompt(tokenizer, text, request);
    if (cut === "") return [];
    const read = chunks.reduce((sum, { tokens }) => sum + tokens.length, 0);
    return [`The ${name} has ${count} tokens and the model reads ${read}; cut off: ${JSON.stringify(cut)}`];
  }));
  return lines.flat();
}
