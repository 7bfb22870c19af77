/**
 * What a safetensors file is when no supported model is in it, told by its names and shapes.
 * @module
 */
import { contextWidth } from "./shape_config.ts";
import type { TensorInfo } from "./tensor_source.ts";

interface Contents {
  readonly has: (pattern: RegExp) => boolean;
  /** Width of the context that the UNet attends to. */
  readonly context: number | undefined;
  readonly channels: number | undefined;
}

/** Kinds of files and how they are recognised; the first that fits is meant. */
const KINDS: readonly (readonly [kind: string, is: (contents: Contents) => boolean])[] = [
  [
    "a LoRA, which --lora takes beside a model",
    ({ has }) => has(/^lora_(?:unet|te)/) || has(/\.lora(?:_[AB]|\.down|\.up|_down|_up)\./),
  ],
  [
    "an upscaler, which denoise upscale takes",
    ({ has }) => has(/^(?:params(?:_ema)?\.)?(?:RRDB_trunk|body\.0\.rdb1|model\.1\.sub)\./),
  ],
  ["a textual inversion", ({ has }) => has(/^(?:emb_params|clip_[lg]|string_to_param\..*)$/)],
  ["a ControlNet", ({ has }) => has(/^(?:control_model\.|controlnet_|input_hint_block\.)/)],
  ["Stable Diffusion 3", ({ has }) => has(/^(?:model\.diffusion_model\.)?joint_blocks\./)],
  ["Flux", ({ has }) => has(/^(?:model\.diffusion_model\.)?double_blocks\./)],
  [
    "the refiner of Stable Diffusion XL",
    ({ has, context }) => context === 1280 || has(/^conditioner\.embedders\.0\.model\./),
  ],
  ["InstructPix2Pix", ({ channels }) => channels === 8],
  ["the UNet alone, as diffusers saves it", ({ has }) => has(/^down_blocks\./)],
  ["the VAE alone", ({ has }) => has(/^decoder\./)],
  ["the text encoder alone", ({ has }) => has(/^(?:text_model\.)?encoder\.layers\./)],
];

/**
 * The kind of file that these tensors are from, in words; undefined for none of the known ones.
 * @param names every name in the file
 * @param unet its UNet's tensors by canonical name
 */
export function otherKind(names: readonly string[], unet: ReadonlyMap<string, TensorInfo>): string | undefined {
  const contents: Contents = {
    has: (pattern) => names.some((name) => pattern.test(name)),
    context: contextWidth(unet),
    channels: unet.get("conv_in.weight")?.shape[1],
  };
  return KINDS.find(([, is]) => is(contents))?.[0];
}
