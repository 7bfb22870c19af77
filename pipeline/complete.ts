/**
 * A request completed: everything that follows from it and its model without a GPU, each once.
 * @module
 */
import { describeTensors, LIMITS, ModelFileError, quoted } from "../weights/mod.ts";
import { controlsOf } from "./controlnets.ts";
import { type Model, tokenizersOf } from "./model.ts";
import { readVaeConfig } from "./nets/config.ts";
import { type EncodedPrompt, encodePrompt, inEqualChunks, type PromptChunk } from "./prompt/chunks.ts";
import { withEmbeddings } from "./prompt/embeddings.ts";
import { readLoraTags, withoutLoraTags } from "./prompt/lora_tags.ts";
import {
  type Embedding,
  type Hires,
  type Image,
  isGuided,
  type Lora,
  type Request,
  RequestError,
  SIZE_SETTINGS,
} from "./request.ts";
import { scheduleFor } from "./schedulers/mod.ts";
import type { Schedule } from "./schedulers/schedule.ts";
import { stepsLeftOut } from "./start.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { refuseSize } from "./upscaler.ts";

/** A request that can be drawn as it is. */
export interface CompleteRequest extends Request {
  /**
   * What each step does to the latent.
   * @internal
   */
  readonly schedule: Schedule;
  /** For each text encoder, the chunks of each sample's prompt, equally many of each. */
  readonly prompts: readonly (readonly (readonly PromptChunk[])[])[];
  /** What of it will not be heeded, a sentence each. */
  readonly notices: readonly string[];
  /**
   * The second pass of {@link Request.hires}, without what it starts from.
   * @internal
   */
  readonly second?: CompleteRequest;
}

/**
 * Completes a request.
 *
 * @throws {RequestError} when a setting is out of range, or the model cannot do what it asks for.
 * @throws {ModelFileError} when the model's own scheduler is not supported, or there is an init image and its VAE has no
 * encoder.
 */
export async function complete(model: Model, request: Request): Promise<CompleteRequest> {
  checkValues(request);
  checkSize(model, request);
  checkLoras(request);
  checkEmbeddings(request);
  checkControls(model, request);
  model.family.check(request, model.config);
  if (request.init) checkEncoder(model);
  const schedule = createSchedule(model, request);
  const second = request.hires && secondPass(model, request, request.hires);
  const refusal = request.upscaler && refuseSize(request.upscaler.file, second ?? request);
  if (refusal !== undefined) throw new RequestError("upscaler", refusal);
  const { embeddings = [] } = request;
  const tokenizers = (await tokenizersOf(model)).map((tokenizer, i) =>
    withEmbeddings(tokenizer, embeddings.map(({ word, file }) => ({ word, vectors: file.vectors[i]! })))
  );
  const notices = [
    ...describeStretches(request),
    ...(request.loras ?? []).flatMap(describeLora),
    ...describeIdle(request, schedule),
  ];
  const texts = model.family.prompts(request);
  if (request.negativePrompt !== "" && !texts.includes(request.negativePrompt)) {
    const { name } = model.family;
    const why = isGuided(request) ? `models of the family ${name} have none` : `guidance is ${request.guidance}`;
    notices.push(`The negative prompt has no effect: ${why}`);
  }
  const encoded = await Promise.all(
    tokenizers.map((tokenizer) => Promise.all(texts.map((text) => readPrompt(tokenizer, text, request)))),
  );
  encoded[0]!.forEach((prompt, i) => {
    const name = NAMES[settingOf(texts[i]!, request)];
    notices.push(...describeCut(name, prompt), ...describeMissing(name, texts[i]!, embeddings));
  });
  const read = new Set(
    encoded[0]!.flatMap(({ chunks }) => chunks.flatMap(({ tokens }) => tokens)).map(({ vector }) => vector),
  );
  notices.push(...embeddings.map((embedding) => describeEmbedding(embedding, read)));
  const prompts = tokenizers.map((tokenizer, i) => inEqualChunks(tokenizer, encoded[i]!));
  if (prompts.some((own) => own[0]!.length !== prompts[0]![0]!.length)) {
    throw new ModelFileError("tokenizer_2", "makes another number of chunks of a prompt than the first tokenizer");
  }
  const complete = { ...request, schedule, prompts, notices };
  return { ...complete, ...(second && { second: { ...complete, ...second, notices: [] } }) };
}

/** Size and schedule of the second pass. */
function secondPass(
  model: Model,
  request: Request,
  { scale, strength, steps, upscaler }: Hires,
): Pick<CompleteRequest, "width" | "height" | "steps" | "schedule"> {
  const refuse = (problem: string): never => {
    throw new RequestError("hires", problem);
  };
  if (request.init) refuse("a picture that starts from another one is not drawn a second time");
  if (!(scale >= 1 && scale <= LIMITS.hires)) refuse(`the scale must be a number from 1 to ${LIMITS.hires}`);
  if (!(strength > 0 && strength <= 1)) refuse(`strength ${strength} is not above 0 and up to 1`);
  if (!Number.isInteger(steps) || steps < 1 || steps > LIMITS.steps) {
    refuse(`its steps must be a whole number from 1 to ${LIMITS.steps}`);
  }
  if (upscaler !== "latent") checkEncoder(model);
  const { factor } = readVaeConfig(model.config.vae);
  // A multiple that is a hair smaller by rounding must not cost 8 pixels.
  const [width, height] = [request.width, request.height].map((side) =>
    Math.floor(side * scale / factor + 1e-6) * factor
  ) as [number, number];
  if (Math.max(width, height) > LIMITS.side) {
    refuse(`the picture would have ${width}x${height} pixels; a side has ${LIMITS.side} at most`);
  }
  const tooLarge = typeof upscaler === "object" ? refuseSize(upscaler.file, request) : undefined;
  if (tooLarge !== undefined) refuse(tooLarge);
  const again = { ...request, width, height, steps };
  return { width, height, steps, schedule: createSchedule(model, again, { setting: "hires", strength }) };
}

/** What messages call the texts of a request. */
const NAMES = { prompt: "prompt", negativePrompt: "negative prompt" } as const;

function settingOf(text: string, { prompt }: Request): keyof typeof NAMES {
  return text === prompt ? "prompt" : "negativePrompt";
}

async function readPrompt(tokenizer: Tokenizer, text: string, request: Request): Promise<EncodedPrompt> {
  try {
    // In a negative prompt AUTOMATIC1111 takes tags for text.
    const isTagged = text === request.prompt && request.promptSyntax === "a1111";
    return await encodePrompt(tokenizer, isTagged ? withoutLoraTags(text) : text, request);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new RequestError(settingOf(text, request), cause.message, { cause });
  }
}

/** Whether a request was completed. */
export function isComplete(request: Request): request is CompleteRequest {
  return "schedule" in request;
}

/** Rejects what a library's caller may pass and the command line does not: NaN, or 1e300, which is infinite to a GPU. */
function checkValues(request: Request): void {
  const { steps, seed, guidance, guidanceRescale = 0, eta = 0, init } = request;
  function refuse(setting: keyof Request, problem: string): never {
    throw new RequestError(setting, problem);
  }
  for (const setting of ["prompt", "negativePrompt"] as const) {
    const { length } = request[setting];
    if (length > LIMITS.prompt) refuse(setting, `has ${length} characters; at most ${LIMITS.prompt} are read`);
  }
  const most = { guidance: LIMITS.guidance, guidanceRescale: 1, eta: 1 };
  for (const [setting, value] of Object.entries({ guidance, guidanceRescale, eta })) {
    const to = most[setting as keyof typeof most];
    if (!(value >= 0 && value <= to)) refuse(setting as keyof typeof most, `must be a number from 0 to ${to}`);
  }
  if (!Number.isInteger(steps) || steps < 1 || steps > LIMITS.steps) {
    refuse("steps", `must be a whole number from 1 to ${LIMITS.steps}`);
  }
  for (const setting of SIZE_SETTINGS) {
    const { [setting]: value = 1 } = request;
    const [least, most] = [setting.startsWith("original") ? 1 : 0, LIMITS.original];
    if (Number.isInteger(value) && value >= least && value <= most) continue;
    refuse(setting, `must be a whole number from ${least} to ${most}`);
  }
  if (BigInt.asUintN(64, seed) !== seed) refuse("seed", "must be a whole number from 0 to 2^64 - 1");
  if (init === undefined) return;
  if (!(init.strength > 0 && init.strength <= 1)) {
    refuse("init", `strength ${init.strength} is not above 0 and up to 1`);
  }
  for (const image of [init.image, ...(init.mask ? [init.mask] : [])]) {
    if (!isWhole(image)) refuse("init", `${image.width}x${image.height} pixels are not ${image.pixels.length} bytes`);
  }
}

function isWhole({ width, height, pixels }: Image): boolean {
  return Number.isInteger(width) && width > 0 && height > 0 && pixels.length === 3 * width * height;
}

function checkSize({ config }: Model, { width, height }: Request): void {
  const { factor } = readVaeConfig(config.vae);
  for (const [setting, side] of [["width", width], ["height", height]] as const) {
    if (side % factor === 0 && side >= factor && side <= LIMITS.side) continue;
    const wanted = `a multiple of ${factor} up to ${LIMITS.side}`;
    throw new RequestError(setting, `a picture of ${width}x${height}: ${setting} must be ${wanted}`);
  }
}

function checkEncoder({ parts: { vae } }: Model): void {
  if (vae.tensors.keys().some((name) => name.startsWith("encoder."))) return;
  throw new ModelFileError(vae.label, "has no encoder, so this model cannot start from a picture");
}

/** How much of a schedule is run, and the setting that says so. */
interface Share {
  readonly setting: "init" | "hires";
  readonly strength: number;
}

function createSchedule(
  { config, defaults }: Model,
  request: Request,
  share: Share | undefined = request.init && { setting: "init", strength: request.init.strength },
): Schedule {
  const { steps, eta, prediction, scheduler: name } = request;
  const { num_train_timesteps: most = 1000 } = config.scheduler;
  if (steps > Number(most)) {
    throw new RequestError(
      share?.setting === "hires" ? "hires" : "steps",
      `the number of steps must be a whole number from 1 to ${most}, not ${steps}`,
    );
  }
  const start = stepsLeftOut({ steps, init: share });
  if (share && start >= steps) {
    const least = Math.ceil(1000 / steps) / 1000;
    throw new RequestError(share.setting, `strength ${share.strength} runs no step of ${steps}; use at least ${least}`);
  }
  const options = { steps, name, eta, start, prediction };
  const key = JSON.stringify(options);
  const last = schedules.get(config.scheduler);
  if (last?.key === key) return last.schedule;
  try {
    const schedule = scheduleFor(config.scheduler, options);
    schedules.set(config.scheduler, { key, schedule });
    return schedule;
  } catch (cause) {
    const { message } = cause as Error;
    const setting = eta
      ? "eta"
      : name !== undefined
      ? "scheduler"
      : prediction !== undefined
      ? "prediction"
      : isPossible(config.scheduler, defaults)
      ? "steps"
      : undefined;
    if (setting) throw new RequestError(setting, message, { cause });
    throw new ModelFileError("scheduler_config.json", message, { cause });
  }
}

/** Whether a model's own scheduler can make as few or as many steps as the model wants. */
function isPossible(config: Model["config"]["scheduler"], { steps }: Model["defaults"]): boolean {
  try {
    scheduleFor(config, { steps });
    return true;
  } catch {
    return false;
  }
}

/** A model's last schedule: lines of a batch mostly share it, 15 KB and 0.7 ms each. */
const schedules = new WeakMap<Model["config"]["scheduler"], { readonly key: string; readonly schedule: Schedule }>();

/** Refuses LoRAs that cannot be meant, and a prompt that names one which nobody opened. */
function checkLoras({ prompt, promptSyntax, loras = [] }: Request): void {
  if (loras.length > LIMITS.loras) {
    throw new RequestError("loras", `there are ${loras.length} LoRAs; at most ${LIMITS.loras} are merged`);
  }
  for (const { name, weight } of loras) {
    if (Math.abs(weight) <= LIMITS.loraWeight) continue;
    throw new RequestError(
      "loras",
      `the weight of ${quoted(name)} must be a number from ${-LIMITS.loraWeight} to ${LIMITS.loraWeight}`,
    );
  }
  if (promptSyntax !== "a1111") return;
  try {
    for (const { name, weight } of readLoraTags(prompt)) {
      if (weight === 0 || loras.some((lora) => lora.name === name)) continue;
      throw new RangeError(`It names the LoRA ${quoted(name)}, which is not among those of the request`);
    }
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new RequestError("prompt", cause.message, { cause });
  }
}

/** Refuses what ControlNets cannot do, and pictures for others than the model was opened with. */
function checkControls({ controlNets }: Model, { controls = [] }: Request): void {
  function refuse(problem: string): never {
    throw new RequestError("controls", problem);
  }
  const [count, wanted] = [controls.length, controlNets.length];
  if (count > 0 && count !== wanted) refuse(`${count} control pictures are given for ${wanted} ControlNets`);
  for (const { image, strength = 1, start = 0, end = 1, canny = [] } of controls) {
    if (!isWhole(image)) refuse(`${image.width}x${image.height} pixels are not ${image.pixels.length} bytes`);
    if (!(strength >= 0 && strength <= LIMITS.controlStrength)) {
      refuse(`a strength must be a number from 0 to ${LIMITS.controlStrength}, not ${strength}`);
    }
    if (!(start >= 0 && start < end && end <= 1)) {
      refuse(`start and end must be numbers from 0 to 1, the start before the end, not ${start} and ${end}`);
    }
    if (!canny.every((threshold) => threshold >= 0 && threshold <= LIMITS.gradient)) {
      refuse(`thresholds of edges must be numbers from 0 to ${LIMITS.gradient}, not ${canny.join(" and ")}`);
    }
  }
}

/** What a LoRA changes, and what of it changes nothing. */
function describeLora({ name, weight, file: { used, unused } }: Lora): string[] {
  const told = `The LoRA ${quoted(name)} of weight ${weight}: ${used} of its tensors are used`;
  if (unused.length === 0) return [told];
  return [`${told}; not used, since this model has no such layers: ${describeTensors(unused)}`];
}

/** Refuses textual inversions that cannot be meant. */
function checkEmbeddings({ embeddings = [] }: Request): void {
  function refuse(problem: string): never {
    throw new RequestError("embeddings", problem);
  }
  if (embeddings.length > LIMITS.loras) refuse(`there are ${embeddings.length}; at most ${LIMITS.loras} are read`);
  const words = new Set<string>();
  for (const { word } of embeddings) {
    if (word.trim() === "" || word.length > LIMITS.word) refuse(`a word has 1 to ${LIMITS.word} letters`);
    const same = word.toLowerCase();
    if (words.has(same)) refuse(`two stand for ${quoted(word)}: give one of them another word, FILE:WORD`);
    words.add(same);
  }
}

/** Whether the vectors of a textual inversion are among those that are `read`. */
function describeEmbedding({ name, word, file }: Embedding, read: ReadonlySet<unknown>): string {
  const [vectors = []] = file.vectors;
  const many = `${vectors.length} vector${vectors.length === 1 ? "" : "s"}`;
  if (vectors.some((vector) => read.has(vector))) return `The embedding ${quoted(name)}: ${many} for ${quoted(word)}`;
  const hint = file.word === undefined || file.word === word ? "" : `; the file itself calls it ${quoted(file.word)}`;
  return `The embedding ${quoted(name)} has no effect: ${quoted(word)} is a word of no prompt that is read${hint}`;
}

/** A line that says so where a text names textual inversions as ComfyUI does, and nobody gave the first of them. */
function describeMissing(name: string, text: string, embeddings: readonly Embedding[]): string[] {
  const words = embeddings.map(({ word }) => word.toLowerCase());
  for (const { 0: tag, index } of text.matchAll(/\bembedding:(?=[^\s,:()[\]])/gi)) {
    const [rest] = text.slice(index + tag.length, index + tag.length + LIMITS.word).split(/[\s,:()[\]]/);
    if (words.some((word) => rest!.toLowerCase().startsWith(word))) continue;
    return [`The ${name} names the embedding ${quoted(rest!)}, which is not given: it is read as text`];
  }
  return [];
}

/** A line for each picture that loses its shape. */
function describeStretches({ init, controls = [], width, height }: Request): string[] {
  const images = [
    ...(init ? [["init image", init.image] as const] : []),
    ...controls.map(({ image }) => ["control image", image] as const),
  ];
  return images.flatMap(([name, image]) => {
    const stretch = width / height / (image.width / image.height);
    if (Math.max(stretch, 1 / stretch) < 1.05) return [];
    return [`The ${name} of ${image.width}x${image.height} is stretched to ${width}x${height}`];
  });
}

/** A line for each ControlNet that changes nothing. */
function describeIdle({ controls = [] }: Request, { steps }: Schedule): string[] {
  const active = new Set(controlsOf({ controls }, steps.length).flat());
  return controls.flatMap(({ strength = 1, start = 0, end = 1 }, number) => {
    if (active.has(number) || strength === 0) return [];
    return [`ControlNet ${number + 1} takes part in none of ${steps.length} steps, from ${start} to ${end} of them`];
  });
}

/** A line that says so where the model reads a part of a text only. */
function describeCut(name: string, { chunks, count, cut }: EncodedPrompt): string[] {
  if (cut === "") return [];
  const read = chunks.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return [`The ${name} has ${count} tokens and the model reads ${read}; cut off: ${quoted(cut)}`];
}
