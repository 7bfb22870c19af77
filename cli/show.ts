/**
 * `denoise show`: what pictures were made with, and what weights files are.
 * @module
 */
import { resolve } from "@std/path";
import type { WeightsDescription } from "../pipeline/models.ts";
import { showBytes } from "./byte_count.ts";
import type { Given } from "./commands.ts";
import type { Environment } from "./environment.ts";
import { exitCodeOf, UsageError } from "./errors.ts";
import { type PictureRecord, readRecord } from "./metadata.ts";
import { optionEntry, type OptionName } from "./options.ts";
import { block, inline, json, line, visible } from "./terminal.ts";

/** How the names of weights files end; those that are not read are refused by their names. */
const WEIGHTS = /\.(?:safetensors|ckpt|pt|pth|bin|gguf)$/i;

/**
 * Prints what each file says: a line for each option or property, or a line of JSON. One of several that says nothing is
 * told; the exit code is that of such files, or 1 where they differ.
 */
export async function execute({ values, positionals }: Given, environment: Environment): Promise<number> {
  const { stdout, stderr } = environment;
  if (positionals.length === 0) throw new UsageError("Which picture or weights file? denoise show FILE");
  const codes = new Set<number>();
  let told = 0;
  for (const path of positionals) {
    let shown: Shown;
    try {
      shown = await (WEIGHTS.test(path) ? showWeights : showPicture)(path, environment);
    } catch (error) {
      const { name, message } = error as Error;
      const code = exitCodeOf(error as Error);
      if (code === 1 || positionals.length === 1) throw error;
      codes.add(code);
      stderr.write(line(`denoise: ${message}`));
      if (values.json) stdout.write(json({ schema: 1, path, error: { code, name, message } }));
      continue;
    }
    const heading = positionals.length === 1 ? "" : `${told++ === 0 ? "" : "\n"}${inline(path)}\n`;
    stdout.write(values.json ? json({ schema: 1, path, ...shown.document }) : block(`${heading}${shown.words}`));
  }
  return codes.size === 1 ? [...codes][0]! : Math.min(codes.size, 1);
}

/** What a file says, as JSON and in lines. */
interface Shown {
  readonly document: object;
  readonly words: string;
}

function showPicture(path: string, { folder }: Environment): Shown {
  const recipe = readRecord(path, folder);
  const { prompt, options, ...rest } = recipe;
  return { document: { picture: { prompt, ...asNumbers(options) }, ...rest }, words: inWords(recipe) };
}

async function showWeights(path: string, { folder }: Environment): Promise<Shown> {
  const { describeWeights } = await import("../pipeline/models.ts");
  const weights = describeWeights(resolve(folder, path));
  return { document: { weights }, words: describeInWords(weights) };
}

function describeInWords(weights: WeightsDescription): string {
  const { kind, family, parts, format, methods = [], ranks, vectors, precision, tensors, parameters, bytes } = weights;
  const types = Object.entries(precision);
  const number = (value: number) => value.toLocaleString("en");
  return linesOf([
    ["kind", kind],
    ["family", family ?? "unknown"],
    ["parts", parts?.join(", ")],
    ["format", [format ?? [], methods].flat().join(", ") || undefined],
    ["rank", ranks && [...new Set(ranks)].join(" to ")],
    ["vectors", vectors],
    ["precision", types.map(([type, count]) => types.length === 1 ? type : `${type} (${number(count)})`).join(", ")],
    ["tensors", `${number(tensors)}, ${number(parameters)} parameters, ${showBytes(bytes)}`],
  ]);
}

/** The options, those that are numbers as numbers; a seed is more than a number holds. */
function asNumbers(options: PictureRecord["options"]): Record<string, unknown> {
  const entries = Object.entries(options).map(([name, text]) => {
    const numeric = typeof text === "string" && readsNumber(name as OptionName, text);
    return [name, numeric ? Number(text) : text];
  });
  return Object.fromEntries(entries);
}

function readsNumber(name: OptionName, text: string): boolean {
  try {
    return typeof optionEntry(name).read?.(text) === "number";
  } catch {
    return false;
  }
}

function inWords(
  {
    prompt,
    options,
    software,
    adapter,
    webgpu,
    files = {},
    loras = [],
    embeddings = [],
    postprocessing,
    lost,
  }: PictureRecord,
): string {
  const told = [
    ["prompt", prompt],
    ...Object.entries(options).flatMap(([name, value]) => [value].flat().map((one) => [name, one])),
    ...loras.map(({ name, weight, sha256 }) => ["lora file", `${name}, weight ${weight}, SHA-256 ${sha256}`]),
    ...embeddings.map(({ name, word, sha256 }) => ["embedding file", `${name}, for ${word}, SHA-256 ${sha256}`]),
    ["made by", software],
    ["made on", adapter],
    ["made with", webgpu],
    ...Object.entries(files).map(([path, sha256]) => [`SHA-256 of ${inline(path)}`, sha256]),
    ["afterwards", postprocessing],
    ...lost.map((setting) => ["cannot be made again", setting]),
  ];
  return linesOf(told);
}

function linesOf(told: readonly (readonly unknown[])[]): string {
  return told.flatMap(([name, value]) => value === undefined ? [] : [`${name}: ${indented(`${value}`)}\n`]).join("");
}

/** All of a text; its other lines are indented, so that none is taken for another option. */
function indented(text: string): string {
  return text.split("\n").map(visible).join("\n  ");
}
