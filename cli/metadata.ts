/**
 * What a picture's file says of how it was made: to other tools, and to make it again.
 * @module
 */
import { basename, resolve } from "@std/path";
import project from "../deno.json" with { type: "json" };
import type { AdapterInfo, GivenFiles, Model, UpscalerFile } from "../pipeline/mod.ts";
import type { ImageFile, Request } from "../pipeline/request.ts";
import { nearestName } from "../pipeline/schedulers/mod.ts";
import { LIMITS } from "../pipeline/limits.ts";
import { UsageError } from "./errors.ts";
import { controlOptions } from "./controls.ts";
import { readBytes, readingOf } from "./reading.ts";
import { readRecords } from "./added_files.ts";
import { type EmbeddingRecord, embeddingsOf } from "./embeddings.ts";
import { isBuiltIn, nameOf, upscalersOf } from "./hires.ts";
import { type LoraRecord, lorasOf } from "./loras.ts";
import {
  type ForeignPicture,
  formatInfotext,
  formatSettings,
  parseInfotext,
  readForeign,
  settingsOf,
} from "./infotext.ts";
import { namesFile, optionEntry, type OptionName, optionNames } from "./options.ts";
import type { OptionTexts } from "./parse.ts";
import { type PngText, readTexts } from "./png.ts";
import { checkPrompt, optionOf, readPictureLine } from "./request.ts";

/** Name of the text that other tools read. */
const PARAMETERS = "parameters";
/** Name of the text in which the web UI says what became of a picture after it was drawn. */
const POSTPROCESSING = "postprocessing";
/** Name of our own, complete one. */
const OWN = "denoise";
const SOFTWARE = `denoise ${project.version}`;

/** How a picture was made. */
export interface Making {
  /** It holds what the model chose. */
  readonly request: Request;
  /** What was given, for what is not part of a request. */
  readonly options: OptionTexts;
  readonly model: Model;
  readonly adapter: AdapterInfo;
}

/** What a picture's file says. */
export interface Recipe extends ForeignPicture {
  readonly adapter?: string;
  /** The WebGPU and its version; older pictures, which do not say it, were drawn by Deno's own. */
  readonly webgpu?: string;
  /** The text that other tools read. */
  readonly parameters?: string;
  /** SHA-256 of the pictures that it was made from, and of the files that were given beside the model, by their paths. */
  readonly files?: Readonly<Record<string, string>>;
  /** The LoRAs, those of its prompt included. */
  readonly loras?: readonly LoraRecord[];
  readonly embeddings?: readonly EmbeddingRecord[];
  /** What became of it after it was drawn, in the web UI's words. */
  readonly postprocessing?: string;
}

/** What a picture's file says, which need not be how it was drawn. */
export type PictureRecord = Omit<Recipe, "prompt"> & { readonly prompt?: string };

/** No time is among the texts: the same request makes the same file. */
export function writeMetadata(making: Making): PngText[] {
  const { request, model, adapter: { description: adapter, webgpu } } = making;
  const { prompt, negativePrompt, scheduler = nearestName(model.config.scheduler) } = request;
  const controlNets = model.controlNets.map(({ given: { path } }) => path);
  const names = { scheduler, model: model.name, vae: model.givenVae?.path, controlNets };
  const settings = new Map([...settingsOf(request, names), ["Version", SOFTWARE]]);
  const infotext = withoutZeros(formatInfotext({ prompt, negativePrompt, settings }));
  const own = {
    schema: 1,
    software: SOFTWARE,
    adapter,
    webgpu,
    picture: describePicture(making),
    files: filesOf(request, model),
    loras: lorasOf(request),
    embeddings: embeddingsOf(request),
  };
  return [{ keyword: PARAMETERS, text: infotext }, { keyword: OWN, text: JSON.stringify(own) }];
}

/**
 * The object from which {@link readPictureLine} and the model make the request again: everything that decides the
 * picture, whether it was given, the model's choice or the default.
 */
function describePicture({ request, options, model }: Making): Readonly<Record<string, unknown>> {
  const { init, hires, upscaler, loras = [], embeddings = [], controls: _, ...told } = request;
  const lora = loras.filter(({ inPrompt }) => !inPrompt).map(({ name, weight }) => `${name}:${weight}`);
  const embedding = embeddings.map(({ name, word }) => `${name}:${word}`);
  const fields = new Map(
    Object.entries({
      ...told,
      lora,
      embedding,
      strength: init?.strength,
      hires: hires?.scale,
      hiresStrength: hires?.strength,
      hiresSteps: hires?.steps,
      hiresUpscaler: hires && nameOf(hires),
      upscaleModel: upscaler?.name,
      ...controlOptions(request),
    }).map(([field, value]) => [optionOf(field), value]),
  );
  const entries = optionNames.flatMap((name) => {
    const { scope, default: text } = optionEntry(name);
    if (scope !== "picture" && scope !== "model") return [];
    const value = fields.get(name) ?? options[name] ?? (name === "model" ? model.name : text);
    // A text: most readers of JSON round numbers above 2^53.
    return value === undefined || (Array.isArray(value) && value.length === 0)
      ? []
      : [[name, typeof value === "bigint" ? `${value}` : value]];
  });
  return { prompt: request.prompt, ...Object.fromEntries(entries) };
}

/** How a picture was enlarged. */
export interface Enlarging {
  readonly upscaler: Pick<UpscalerFile, "path" | "sha256" | "scale">;
  readonly source: ImageFile;
  readonly adapter: AdapterInfo;
}

/** The texts of a picture that was enlarged: those that it had, and in the web UI's words what was done. */
export function addEnlarging(texts: readonly PngText[], { upscaler, source, adapter }: Enlarging): PngText[] {
  const settings = new Map([
    ["Postprocess upscale by", `${upscaler.scale}`],
    ["Postprocess upscaler", basename(upscaler.path)],
    ["Upscaler SHA-256", upscaler.sha256],
    ["Source SHA-256", source.sha256],
    ["Adapter", adapter.description],
    ["WebGPU", adapter.webgpu],
    ["Version", SOFTWARE],
  ]);
  const before = texts.filter(({ keyword }) => keyword === POSTPROCESSING).map(({ text }) => text);
  const others = texts.filter(({ keyword }) => keyword !== POSTPROCESSING);
  const text = [...before, formatSettings(settings)].join("\n");
  return [...others, { keyword: POSTPROCESSING, text }].map(({ keyword, text }) => ({
    keyword,
    text: withoutZeros(text),
  }));
}

/** Some readers end a text at the character 0. */
function withoutZeros(text: string): string {
  return text.replaceAll("\0", "");
}

/**
 * Reads what a picture was drawn with: our own text, or what we understand of another tool's.
 *
 * @throws {UsageError} when the file at `path`, which begins in `folder`, is not a PNG file, or does not say it.
 */
export function readMetadata(path: string, folder: string): Recipe {
  const { prompt, ...record } = readRecord(path, folder);
  if (prompt !== undefined) return { prompt, ...record };
  throw unsaid(path);
}

/**
 * The same where a picture need not have been drawn.
 *
 * @throws {UsageError} when the file at `path`, which begins in `folder`, is not a PNG file, or says nothing.
 */
export function readRecord(path: string, folder: string): PictureRecord {
  const names = [PARAMETERS, OWN, POSTPROCESSING];
  const found = readingOf(path, () => readTexts(readBytes(resolve(folder, path), LIMITS.pngBytes), names));
  const texts = new Map(found.map(({ keyword, text }) => [keyword, text]));
  const [parameters, own, postprocessing] = names.map((name) => texts.get(name));
  const told = {
    ...(parameters !== undefined && { parameters }),
    ...(postprocessing !== undefined && { postprocessing }),
  };
  try {
    if (own !== undefined) return { ...readOwn(own), ...told };
    if (parameters !== undefined) {
      const foreign = readForeign(parseInfotext(parameters));
      return { ...foreign, prompt: checkPrompt(foreign.prompt), ...told };
    }
  } catch (cause) {
    throw new UsageError(`${path} cannot be made again: ${(cause as Error).message}`, { cause });
  }
  if (postprocessing !== undefined) return { options: {}, lost: [], ...told };
  throw unsaid(path);
}

function unsaid(path: string): UsageError {
  return new UsageError(`${path} does not say how it was made: it has neither a ${OWN} nor a ${PARAMETERS} text`);
}

/**
 * The options of a picture's `recipe`, without those that `given` ones take the place of. A picture's file is a stranger's:
 * what it names is opened where the user says so.
 *
 * @throws {UsageError} when it names a model that is not `embedded`, or a file, and nobody gave it.
 */
export function optionsOf(
  { options, lost }: Recipe,
  { from, given, embedded, trusts }: {
    readonly from: string;
    readonly given: OptionTexts;
    readonly embedded: readonly string[];
    readonly trusts: boolean;
  },
): Pick<Recipe, "options" | "lost"> {
  const entries = Object.entries(options).filter(([name]) => given[name as OptionName] === undefined);
  // Another model brings its own.
  const isIdle = ([name]: readonly [string, unknown]) => name === "tokenizer" && given.model !== undefined && !trusts;
  const kept = entries.filter((entry) => !isIdle(entry));
  const isWord = ([name, value]: readonly [string, unknown]) =>
    name === "model" ? embedded.includes(`${value}`) : name === "hires-upscaler" && isBuiltIn(`${value}`);
  const paths = kept.filter((entry) => namesFile(entry[0] as OptionName) && !isWord(entry));
  if (paths.length > 0 && !trusts) {
    const flags = paths.flatMap(([name, value]) => [value].flat().map((one) => writeFlag(name, `${one}`))).join(" ");
    throw new UsageError(
      `${from} was made with ${flags}: add this to the command, or --trust-paths to open whatever it names`,
    );
  }
  return {
    options: Object.fromEntries(kept),
    lost: [
      ...lost,
      ...entries.filter(isIdle).map(([name, value]) => `${name}: ${value} (--${name} says which to use)`),
    ],
  };
}

/** An option as a shell takes it. */
function writeFlag(name: string, value: string): string {
  const quoted = /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
  return `--${name}${value.startsWith("-") ? "=" : " "}${quoted}`;
}

/** What was given beside the model. */
export function givenTo({ givenVae, controlNets }: Pick<Model, "givenVae" | "controlNets">): readonly GivenFiles[] {
  return [...(givenVae ? [givenVae] : []), ...controlNets.map(({ given }) => given)];
}

/** SHA-256 of the files that were named beside the model, by their paths; undefined when there are none. */
function filesOf({ init, controls = [], ...request }: Request, model: Model): Recipe["files"] {
  const images = [init?.image, init?.mask, ...controls.map(({ image }) => image)];
  const hashes = [
    ...images.flatMap((image) => image?.file ? [[image.file.path, image.file.sha256]] : []),
    ...upscalersOf(request).map(({ name, file }) => [name, file.sha256]),
    ...givenTo(model).flatMap((files) => Object.entries(files.hashes())),
  ];
  return hashes.length === 0 ? undefined : Object.fromEntries(hashes);
}

function readOwn(text: string): Recipe {
  const { picture, ...told } = parseOwn(text);
  const kinds = { software: "string", adapter: "string", webgpu: "string", files: "object" };
  const kept = Object.entries(kinds).filter(([name, kind]) => typeof told[name] === kind && told[name] !== null);
  const loras = readRecords<LoraRecord>(told.loras, { weight: "number" });
  const embeddings = readRecords<EmbeddingRecord>(told.embeddings, { word: "string" });
  const { prompt, options } = readPictureLine(JSON.stringify(picture ?? null));
  const isForeign = ([name]: readonly [string, unknown]) => optionEntry(name as OptionName).scope === "line";
  return {
    prompt,
    options: Object.fromEntries(Object.entries(options).filter((option) => !isForeign(option))),
    ...Object.fromEntries(kept.map(([name]) => [name, told[name]])),
    ...(loras && { loras }),
    ...(embeddings && { embeddings }),
    // Nobody who only asked for a picture asked for these.
    lost: Object.entries(options).filter(isForeign).map(([name, value]) =>
      `${name}: ${value} (a picture does not say it)`
    ),
  };
}

function parseOwn(text: string): Record<string, unknown> {
  try {
    return { ...JSON.parse(text) };
  } catch (cause) {
    throw new SyntaxError(`its ${OWN} text is not JSON`, { cause });
  }
}
