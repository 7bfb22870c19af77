/**
 * Models small enough for tests: the configurations and names of `fixtures/tiny-*`, computed weights, CLIP's tokenizer.
 * @module
 */
import { join } from "@std/path";
import { readJson } from "../../weights/files.ts";
import { openFormula } from "../../weights/formula.ts";
import { byPart, partEntry, type PartName, partsWith, renameOf } from "../../weights/manifest.ts";
import type { ModelFiles } from "../../weights/model.ts";
import { renameTensors } from "../../weights/names.ts";
import type { TensorSource } from "../../weights/tensor_source.ts";
import { forOpenClip, readTokenizer } from "../../weights/tokenizer_files.ts";

const FIXTURES = join(import.meta.dirname!, "..", "..", "fixtures");

/** The folder of CLIP's tokenizer. */
export const TOKENIZER = join(FIXTURES, "tokenizer");

/** A folder of fixtures. */
export type TinyName =
  | `tiny-${"sd1" | "sd2" | "sdxl" | "ssd" | "lcm" | "inpaint"}`
  | `tiny-bk-${"base" | "small" | "tiny"}`
  | "taesd";

/** A tiny model; its weights are those that the golden data was made with. */
export function openTinyFiles(name: TinyName = "tiny-sd1"): ModelFiles {
  const tokenizer = readTokenizer(TOKENIZER);
  const own = partsWith((part) => has(name, part) || has(baseOf(name), part));
  return {
    name,
    directory: join(FIXTURES, name),
    config: {
      ...byPart((part) => readJson(join(folderOf(name, part), "config.json")), own),
      scheduler: readJson(join(folderOf(name, "scheduler"), "scheduler_config.json")),
    },
    parts: byPart((part) => openTinyPart(part, name), own),
    tokenizer,
    ...(own.includes("text_encoder_2") && { tokenizer_2: forOpenClip(tokenizer) }),
    settings: {},
    [Symbol.dispose]() {},
  };
}

/** The computed weights of one part, for the names and shapes in its `tensors.json`. */
export function openTinyPart(part: PartName, name: TinyName = "tiny-sd1"): TensorSource {
  const folder = folderOf(name, part);
  const names = Deno.readTextFileSync(join(folder, "tensors.json"));
  const source = openFormula(`${folder.split("/").at(-2)}.${part}`, new Map(JSON.parse(names)));
  return renameTensors(source, renameOf(partEntry(part).folder, source.tensors.keys()));
}

/** Where a model's part is; what it does not have is that of another model. */
function folderOf(name: TinyName, part: string): string {
  return join(FIXTURES, has(name, part) ? name : baseOf(name), part);
}

function baseOf(name: TinyName): TinyName {
  return name === "tiny-ssd" ? "tiny-sdxl" : "tiny-sd1";
}

function has(name: TinyName, part: string): boolean {
  return Array.from(Deno.readDirSync(join(FIXTURES, name)), (entry) => entry.name).includes(part);
}
