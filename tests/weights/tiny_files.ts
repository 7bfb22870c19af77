/**
 * Models small enough for tests: the configurations and names of `fixtures/tiny-*`, computed weights, CLIP's tokenizer.
 * @module
 */
import { join } from "@std/path";
import { readJson } from "../../weights/files.ts";
import { openFormula } from "../../weights/formula.ts";
import { byPart, type PartName } from "../../weights/manifest.ts";
import type { ModelFiles } from "../../weights/model.ts";
import type { TensorSource } from "../../weights/tensor_source.ts";
import { readTokenizer } from "../../weights/tokenizer_files.ts";

const FIXTURES = join(import.meta.dirname!, "..", "..", "fixtures");

/** The folder of CLIP's tokenizer. */
export const TOKENIZER = join(FIXTURES, "tokenizer");

/** A folder of fixtures. */
export type TinyName =
  | "tiny-sd1"
  | "tiny-sd2"
  | "tiny-lcm"
  | "tiny-inpaint"
  | `tiny-bk-${"base" | "small" | "tiny"}`
  | "taesd";

/** A tiny model; its weights are those that the golden data was made with. */
export function openTinyFiles(name: TinyName = "tiny-sd1"): ModelFiles {
  return {
    name,
    directory: join(FIXTURES, name),
    config: {
      ...byPart((part) => readJson(join(folderOf(name, part), "config.json"))),
      scheduler: readJson(join(folderOf(name, "scheduler"), "scheduler_config.json")),
    },
    parts: byPart((part) => openTinyPart(part, name)),
    tokenizer: readTokenizer(TOKENIZER),
    settings: {},
    [Symbol.dispose]() {},
  };
}

/** The computed weights of one part, for the names and shapes in its `tensors.json`. */
export function openTinyPart(part: PartName, name: TinyName = "tiny-sd1"): TensorSource {
  const folder = folderOf(name, part);
  const names = Deno.readTextFileSync(join(folder, "tensors.json"));
  return openFormula(`${folder.split("/").at(-2)}.${part}`, new Map(JSON.parse(names)));
}

/** Where a model's part is; what it does not have is that of tiny-sd1. */
function folderOf(name: TinyName, part: string): string {
  const own = Array.from(Deno.readDirSync(join(FIXTURES, name)), (entry) => entry.name).includes(part);
  return join(FIXTURES, own ? name : "tiny-sd1", part);
}
