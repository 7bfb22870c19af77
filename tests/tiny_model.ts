/**
 * A Stable Diffusion 1.x small enough for tests: the configuration and names of `fixtures/tiny-sd1`, computed
 * weights, CLIP's tokenizer.
 * @module
 */
import { join } from "@std/path";
import { readDefaults } from "../weights/defaults.ts";
import { openFormula } from "../weights/formula.ts";
import { type Model, readConfig } from "../weights/model.ts";
import type { PartName } from "../weights/part.ts";
import type { TensorSource } from "../weights/tensor_source.ts";
import { readTokenizer } from "../weights/tokenizer_files.ts";

const FIXTURES = join(import.meta.dirname!, "..", "fixtures");

/** The folder of CLIP's tokenizer. */
export const TOKENIZER = join(FIXTURES, "tokenizer");

/** The tiny model; its weights are those that the golden data was made with. */
export function openTinyModel(): Model {
  const directory = join(FIXTURES, "tiny-sd1");
  const config = readConfig(directory);
  return {
    name: "tiny-sd1",
    directory,
    config,
    textEncoder: openTinyPart("text_encoder"),
    unet: openTinyPart("unet"),
    vae: openTinyPart("vae"),
    tokenizer: readTokenizer(TOKENIZER),
    defaults: readDefaults(directory, config),
    [Symbol.dispose]() {},
  };
}

/** The computed weights of one part, for the names and shapes in its `tensors.json`. */
export function openTinyPart(part: PartName): TensorSource {
  const names = Deno.readTextFileSync(join(FIXTURES, "tiny-sd1", part, "tensors.json"));
  return openFormula(`tiny-sd1.${part}`, new Map(JSON.parse(names)));
}
