/**
 * What a picture's file says of how it was made: to other tools, and to make it again.
 * @module
 */
import { resolve } from "@std/path";
import project from "../deno.json" with { type: "json" };
import type { AdapterInfo, Model } from "../pipeline/mod.ts";
import type { Request } from "../pipeline/request.ts";
import { nearestName } from "../pipeline/schedulers/mod.ts";
import { LIMITS } from "../pipeline/limits.ts";
import { UsageError } from "./errors.ts";
import { readBytes, readingOf } from "./files.ts";
import { type ForeignPicture, formatInfotext, parseInfotext, readForeign, settingsOf } from "./infotext.ts";
import { optionEntry, optionNames } from "./options.ts";
import type { OptionTexts } from "./parse.ts";
import { type PngText, readTexts } from "./png.ts";
import { checkPrompt, optionOf, readPictureLine } from "./request.ts";

/** Name of the text that other tools read. */
const PARAMETERS = "parameters";
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
  /** The text that other tools read. */
  readonly parameters?: string;
  /** SHA-256 of the files that it began with, by their paths. */
  readonly files?: Readonly<Record<string, string>>;
}

/** No time is among the texts: the same request makes the same file. */
export function writeMetadata(making: Making): PngText[] {
  const { request, model, adapter: { description: adapter } } = making;
  const { prompt, negativePrompt, scheduler = nearestName(model.config.scheduler) } = request;
  const settings = new Map([...settingsOf(request, { scheduler, model: model.name }), ["Version", SOFTWARE]]);
  // The character 0 would end the text for some readers.
  const infotext = formatInfotext({ prompt, negativePrompt, settings }).replaceAll("\0", "");
  const own = { schema: 1, software: SOFTWARE, adapter, picture: describePicture(making), files: filesOf(request) };
  return [{ keyword: PARAMETERS, text: infotext }, { keyword: OWN, text: JSON.stringify(own) }];
}

/**
 * The object from which {@link readPictureLine} and the model make the request again: everything that decides the
 * picture, whether it was given, the model's choice or the default.
 */
function describePicture({ request, options, model }: Making): Readonly<Record<string, unknown>> {
  const { init, ...told } = request;
  const fields = new Map(
    Object.entries({ ...told, strength: init?.strength }).map(([field, value]) => [optionOf(field), value]),
  );
  const entries = optionNames.flatMap((name) => {
    const { scope, default: text } = optionEntry(name);
    if (scope !== "picture" && scope !== "model") return [];
    const value = fields.get(name) ?? options[name] ?? (name === "model" ? model.name : text);
    // A text: most readers of JSON round numbers above 2^53.
    return value === undefined ? [] : [[name, typeof value === "bigint" ? `${value}` : value]];
  });
  return { prompt: request.prompt, ...Object.fromEntries(entries) };
}

/**
 * Reads what a picture was made with: our own text, or what we understand of another tool's.
 *
 * @throws {UsageError} when the file at `path`, which begins in `folder`, is not a PNG file, or does not say it.
 */
export function readMetadata(path: string, folder: string): Recipe {
  const found = readingOf(path, () => readTexts(readBytes(resolve(folder, path), LIMITS.pngBytes), [PARAMETERS, OWN]));
  const texts = new Map(found.map(({ keyword, text }) => [keyword, text]));
  const parameters = texts.get(PARAMETERS);
  const own = texts.get(OWN);
  try {
    if (own !== undefined) return { ...readOwn(own), ...(parameters === undefined ? {} : { parameters }) };
    if (parameters !== undefined) {
      const foreign = readForeign(parseInfotext(parameters));
      return { ...foreign, prompt: checkPrompt(foreign.prompt), parameters };
    }
  } catch (cause) {
    throw new UsageError(`${path} cannot be made again: ${(cause as Error).message}`, { cause });
  }
  throw new UsageError(`${path} does not say how it was made: it has neither a ${OWN} nor a ${PARAMETERS} text`);
}

/** SHA-256 of the files that a request begins with, by their paths; undefined when there are none. */
export function filesOf({ init }: Request): Readonly<Record<string, string>> | undefined {
  const files = [init?.image.file, init?.mask?.file].filter((file) => file !== undefined);
  return files.length === 0 ? undefined : Object.fromEntries(files.map(({ path, sha256 }) => [path, sha256]));
}

function readOwn(text: string): Recipe {
  const { picture, ...told } = parseOwn(text);
  const kinds = { software: "string", adapter: "string", files: "object" };
  const kept = Object.entries(kinds).filter(([name, kind]) => typeof told[name] === kind && told[name] !== null);
  return {
    ...readPictureLine(JSON.stringify(picture ?? null)),
    ...Object.fromEntries(kept.map(([name]) => [name, told[name]])),
    lost: [],
  };
}

function parseOwn(text: string): Record<string, unknown> {
  try {
    return { ...JSON.parse(text) };
  } catch (cause) {
    throw new SyntaxError(`its ${OWN} text is not JSON`, { cause });
  }
}
