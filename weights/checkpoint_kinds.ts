/**
 * What a safetensors file is when no supported model is in it, told by its names and shapes.
 * @module
 */
import { AUTHORS_LAYER } from "./vae.ts";
import { splitName } from "./lora_names.ts";
import { contextWidth } from "./shape_config.ts";
import type { TensorInfo } from "./tensor_source.ts";

interface Contents {
  readonly names: readonly string[];
  /** Whether a name is like this. */
  readonly has: (pattern: RegExp) => boolean;
  /** Width of the context that the UNet attends to. */
  readonly context: number | undefined;
  readonly channels: number | undefined;
}

interface Kind {
  /** What people call such a file. */
  readonly kind: string;
  /** The family that it is of, where the kind says it. */
  readonly family?: string;
  /** The same in a sentence about what should be a whole model. */
  readonly said: string;
  readonly is: (contents: Contents) => boolean;
}

/** Kinds of files and how they are recognised; the first that fits is meant. */
const KINDS: readonly Kind[] = [
  {
    kind: "LoRA",
    said: "a LoRA, which --lora takes beside a model",
    // Other files may have scales, too.
    is: ({ names, has }) =>
      has(/^lora_(?:unet|te)/) || names.some((name) => !["alpha", undefined].includes(splitName(name)?.role)),
  },
  {
    kind: "upscaler",
    said: "an upscaler, which denoise upscale takes",
    is: ({ has }) => has(/^(?:params(?:_ema)?\.)?(?:RRDB_trunk|body\.0\.rdb1|model\.1\.sub)\./),
  },
  {
    kind: "textual inversion",
    said: "a textual inversion, which --embedding takes beside a model",
    is: ({ has }) => has(/^(?:emb_params|clip_[lg]|string_to_param\..*)$/),
  },
  {
    kind: "ControlNet",
    said: "a ControlNet, which --controlnet takes beside a model",
    is: ({ has }) => has(/^(?:control_model\.|controlnet_|input_hint_block\.)/),
  },
  {
    kind: "checkpoint",
    family: "Stable Diffusion 3",
    said: "Stable Diffusion 3",
    is: ({ has }) => has(/^(?:model\.diffusion_model\.)?joint_blocks\./),
  },
  {
    kind: "checkpoint",
    family: "Flux",
    said: "Flux",
    is: ({ has }) => has(/^(?:model\.diffusion_model\.)?double_blocks\./),
  },
  {
    kind: "checkpoint",
    family: "SDXL, the refiner",
    said: "the refiner of Stable Diffusion XL",
    is: ({ has, context }) => context === 1280 || has(/^conditioner\.embedders\.0\.model\./),
  },
  { kind: "checkpoint", family: "InstructPix2Pix", said: "InstructPix2Pix", is: ({ channels }) => channels === 8 },
  { kind: "UNet", said: "the UNet alone, as diffusers saves it", is: ({ has }) => has(/^down_blocks\./) },
  {
    kind: "tiny VAE",
    said: "the tiny VAE alone, which --vae takes beside a model",
    is: ({ names, has }) =>
      has(/^decoder\.layers\./) || (names.length > 0 && names.every((name) => AUTHORS_LAYER.test(name))),
  },
  { kind: "VAE", said: "the VAE alone, which --vae takes beside a model", is: ({ has }) => has(/^decoder\./) },
  {
    kind: "text encoder",
    said: "the text encoder alone",
    is: ({ has }) => has(/^(?:text_model\.)?encoder\.layers\./),
  },
];

/**
 * The kind of file that these tensors are from; undefined for a whole model, parts of one, and what nobody knows.
 * @param names every name in the file
 * @param unet its UNet's tensors by canonical name
 */
export function otherKind(
  names: readonly string[],
  unet: ReadonlyMap<string, TensorInfo>,
): Omit<Kind, "is"> | undefined {
  const contents: Contents = {
    names,
    has: (pattern) => names.some((name) => pattern.test(name)),
    context: contextWidth(unet),
    channels: unet.get("conv_in.weight")?.shape[1],
  };
  return KINDS.find(({ is }) => is(contents));
}
