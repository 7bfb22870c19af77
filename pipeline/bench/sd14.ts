/**
 * Stable Diffusion 1.4 but for its weights, which are computed: with them a machine can be measured at full size without
 * a download.
 * @module
 */
import { byPart, openFormula, sd14Config } from "../../weights/mod.ts";
import { sd1 } from "../families/sd1.ts";
import { describeFiles, type Model } from "../model.ts";
import { readVaeConfig } from "../nets/config.ts";
import { ShapeRecorder } from "../nets/shapes.ts";
import { readDecoder } from "../nets/vae.ts";
import values from "./sd14_reference.json" with { type: "json" };

/**
 * Results of diffusers 0.40 on PyTorch 2.11, float32 without TF32: of each 256 values, value `k` from position
 * `7919 k` modulo the number of values, in the order `[batch, channels, height, width]`.
 */
export const sd14Reference: typeof values = values;

/** Opens Stable Diffusion 1.4, 1.0 billion parameters, which are computed as they are read; only noise to look at. */
export function openRandomModel(): Model {
  const recorders = byPart(() => new ShapeRecorder());
  sd1.read(recorders, sd14Config);
  readDecoder(recorders.vae, readVaeConfig(sd14Config.vae));
  return describeFiles({
    name: "sd14 with computed weights",
    directory: "",
    config: sd14Config,
    parts: byPart((part) => openFormula(part, recorders[part].shapes)),
    // CLIP's first and last token and its length, and no words: any prompt costs the same.
    tokenizer: {
      vocab: JSON.stringify({ "<|startoftext|>": 49406, "<|endoftext|>": 49407 }),
      merges: "",
      config: { model_max_length: 77 },
      specialTokens: {},
    },
    settings: {},
    [Symbol.dispose]() {},
  });
}
