/**
 * A model with computed weights: the shapes are those that its configuration makes the readers ask for.
 * @module
 */
import { type Model, openFormula, sd14Config, sd14Defaults, sd14Tokenizer, type TensorSource } from "../weights/mod.ts";
import { readTextConfig, readUnetConfig, readVaeConfig } from "./config.ts";
import type { Parameters } from "./parameters.ts";
import { recordShapes } from "./tensor_shapes.ts";
import { readTextEncoder } from "./text_encoder.ts";
import { readUnet } from "./unet.ts";
import { readDecoder } from "./vae.ts";

export { sd14Reference } from "../weights/sd14_reference.ts";

/** Opens Stable Diffusion 1.4, 1.0 billion parameters, which are computed as they are read; only noise to look at. */
export function openRandomModel(): Model {
  const { textEncoder, unet, vae } = sd14Config;
  return {
    name: "sd14 with computed weights",
    directory: "",
    config: sd14Config,
    textEncoder: computed("text_encoder", (parameters) => readTextEncoder(parameters, readTextConfig(textEncoder))),
    unet: computed("unet", (parameters) => readUnet(parameters, readUnetConfig(unet))),
    vae: computed("vae", (parameters) => readDecoder(parameters, readVaeConfig(vae))),
    tokenizer: sd14Tokenizer,
    defaults: sd14Defaults,
    [Symbol.dispose]() {},
  };
}

function computed(part: string, read: (parameters: Parameters) => unknown): TensorSource {
  return openFormula(part, recordShapes(read));
}
