/**
 * Whether a model's files are those of a model that can be drawn with: its parts fit together, every tensor is there.
 * @module
 */
import { type Model, type ModelConfig, ModelFileError, type TensorSource } from "../weights/mod.ts";
import {
  readTextConfig,
  readUnetConfig,
  readVaeConfig,
  type TextConfig,
  type UnetConfig,
  type VaeConfig,
} from "./config.ts";
import { checkTensors, recordShapes, type Shapes } from "./tensor_shapes.ts";
import { readTextEncoder } from "./text_encoder.ts";
import { readUnet } from "./unet.ts";
import { readDecoder, readEncoder } from "./vae.ts";

/** The configurations of a model's parts. */
export interface PartConfigs {
  readonly text: TextConfig;
  readonly unet: UnetConfig;
  readonly vae: VaeConfig;
}

/**
 * Reads a model's configurations and holds its parts against them; no tensor is read.
 *
 * @throws {ModelFileError} when tensors are missing, misshapen or unknown, or the model is of a kind that is not supported.
 */
export function checkModel(model: Model): PartConfigs {
  const { text, unet, vae } = readConfigs(model.config);
  checkTensors(model.textEncoder, recordShapes((parameters) => readTextEncoder(parameters, text)));
  checkTensors(model.unet, recordShapes((parameters) => readUnet(parameters, unet)));
  checkTensors(model.vae, vaeShapes(model.vae, vae));
  return { text, unet, vae };
}

/**
 * Reads the configurations of parts that fit together.
 *
 * @throws {ModelFileError} when they do not, or the model is of a kind that is not supported.
 */
export function readConfigs({ textEncoder, unet, vae }: ModelConfig): PartConfigs {
  const configs = { text: readTextConfig(textEncoder), unet: readUnetConfig(unet), vae: readVaeConfig(vae) };
  checkParts(configs);
  return configs;
}

/** Refuses parts that do not fit together. */
function checkParts({ unet, vae, text }: PartConfigs): void {
  const { inChannels, outChannels, contextWidth } = unet;
  if (inChannels !== vae.latentChannels || outChannels !== vae.latentChannels) {
    const shape = `${inChannels} channels to ${outChannels}`;
    throw new ModelFileError("unet/config.json", `maps ${shape}, but the VAE's latents have ${vae.latentChannels}`);
  }
  if (contextWidth !== text.width) {
    const widths = `${contextWidth}, and the text encoder writes ${text.width}`;
    throw new ModelFileError("unet/config.json", `reads a context of width ${widths}`);
  }
}

/** What a VAE must have. It may come without its encoder, which only starting from a picture needs. */
function vaeShapes({ tensors }: TensorSource, config: VaeConfig): Shapes {
  const decoder = recordShapes((parameters) => readDecoder(parameters, config));
  if (![...tensors.keys()].some((name) => name.startsWith("encoder."))) return decoder;
  return new Map([...decoder, ...recordShapes((parameters) => readEncoder(parameters, config))]);
}
