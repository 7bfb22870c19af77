/**
 * Models but for their weights, which are computed: with them a machine can be measured at full size without a download.
 * @module
 */
import { byPart, type ModelConfig, openFormula, partsOf, sd14Config, sdxlConfig } from "../../weights/mod.ts";
import type { Reference } from "../compare.ts";
import { familyOf } from "../families/table.ts";
import { describeFiles, type Model } from "../model.ts";
import { readVaeConfig } from "../nets/config.ts";
import { ShapeRecorder } from "../nets/shapes.ts";
import { readDecoder } from "../nets/vae.ts";
import sd14 from "./sd14_reference.json" with { type: "json" };
import sdxl from "./sdxl_reference.json" with { type: "json" };

/** A model of full size. */
interface RandomModel {
  readonly config: ModelConfig;
  /** What diffusers computed with the same weights, in float32 without TF32; see `fixtures/recipe/random_reference.py`. */
  readonly reference: Reference;
}

/** Every such model, by the name that options have for it. */
export const RANDOM_MODELS = {
  /** Stable Diffusion 1.4, 1.0 billion parameters. */
  sd14: { config: sd14Config, reference: sd14 },
  /** Stable Diffusion XL base 1.0, 3.4 billion parameters. */
  sdxl: { config: sdxlConfig, reference: sdxl },
} as const satisfies Record<string, RandomModel>;

export type RandomName = keyof typeof RANDOM_MODELS;

/** CLIP's first and last token, the one that OpenCLIP pads with, and its length, and no words: any prompt costs the same. */
const TOKENIZER = {
  vocab: JSON.stringify({ "!": 0, "<|startoftext|>": 49406, "<|endoftext|>": 49407 }),
  merges: "",
  config: { model_max_length: 77 },
  specialTokens: {},
};

/** Opens a model whose weights are computed as they are read; only noise to look at. */
export function openRandomModel(name: RandomName): Model {
  const { config } = RANDOM_MODELS[name];
  const parts = partsOf(config);
  const recorders = byPart(() => new ShapeRecorder(), parts);
  familyOf(config).read(recorders, config);
  readDecoder(recorders.vae, readVaeConfig(config.vae));
  return describeFiles({
    name: `${name} with computed weights`,
    directory: "",
    config,
    parts: byPart((part) => openFormula(part, recorders[part]!.shapes), parts),
    tokenizer: TOKENIZER,
    ...(parts.includes("text_encoder_2") && { tokenizer_2: { ...TOKENIZER, specialTokens: { pad_token: "!" } } }),
    settings: {},
    [Symbol.dispose]() {},
  });
}
