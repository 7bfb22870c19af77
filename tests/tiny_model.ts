/**
 * Models small enough for tests, ready to draw.
 * @module
 */
import { describeFiles, type Model } from "../pipeline/model.ts";
import { openTinyFiles, type TinyName } from "./weights/tiny_files.ts";

export { openTinyPart, TOKENIZER } from "./weights/tiny_files.ts";

/** A tiny model; its weights are those that the golden data was made with. */
export function openTinyModel(name?: TinyName): Model {
  return describeFiles(openTinyFiles(name));
}
