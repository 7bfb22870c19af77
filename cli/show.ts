/**
 * `denoise show`: what pictures were made with.
 * @module
 */
import type { Given } from "./commands.ts";
import type { Environment } from "./environment.ts";
import { exitCodeOf, UsageError } from "./errors.ts";
import { type PictureRecord, readRecord } from "./metadata.ts";
import { optionEntry, type OptionName } from "./options.ts";
import { block, inline, json, line, visible } from "./terminal.ts";

/** Prints what each file says: a line for each option, or a line of JSON. One of several that says nothing is told. */
export function execute({ values, positionals }: Given, { stdout, stderr, folder }: Environment): Promise<number> {
  if (positionals.length === 0) throw new UsageError("Which picture? denoise show FILE");
  let [code, told] = [0, 0];
  for (const path of positionals) {
    try {
      const recipe = readRecord(path, folder);
      const { prompt, options, ...rest } = recipe;
      const document = { schema: 1, path, picture: { prompt, ...asNumbers(options) }, ...rest };
      const heading = positionals.length === 1 ? "" : `${told++ === 0 ? "" : "\n"}${inline(path)}\n`;
      stdout.write(values.json ? json(document) : block(`${heading}${inWords(recipe)}`));
    } catch (error) {
      if (!(error instanceof UsageError) || positionals.length === 1) throw error;
      const { name, message } = error;
      code = exitCodeOf(error);
      stderr.write(line(`denoise: ${message}`));
      if (values.json) stdout.write(json({ schema: 1, path, error: { code, name, message } }));
    }
  }
  return Promise.resolve(code);
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
  { prompt, options, software, adapter, webgpu, files = {}, loras, postprocessing, lost }: PictureRecord,
): string {
  const told = [
    ["prompt", prompt],
    ...Object.entries(options).flatMap(([name, value]) => [value].flat().map((one) => [name, one])),
    ...(loras ?? []).map(({ name, weight, sha256 }) => ["lora file", `${name}, weight ${weight}, SHA-256 ${sha256}`]),
    ["made by", software],
    ["made on", adapter],
    ["made with", webgpu],
    ...Object.entries(files).map(([path, sha256]) => [`SHA-256 of ${inline(path)}`, sha256]),
    ["afterwards", postprocessing],
    ...lost.map((setting) => ["cannot be made again", setting]),
  ];
  return told.flatMap(([name, value]) => value === undefined ? [] : [`${name}: ${indented(`${value}`)}\n`]).join("");
}

/** All of a text; its other lines are indented, so that none is taken for another option. */
function indented(text: string): string {
  return text.split("\n").map(visible).join("\n  ");
}
