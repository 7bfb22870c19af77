import { assertRejects } from "@std/assert";
import { Gpu, Pipeline } from "../../pipeline/mod.ts";
import { type JsonObject, type Model, ModelFileError, type TensorSource } from "../../weights/mod.ts";
import { openTinyModel } from "../tiny_model.ts";

/** The same source with one tensor's shape changed, or without the tensor. */
function reshaped(source: TensorSource, name: string, shape?: readonly number[]): TensorSource {
  const tensors = new Map(source.tensors);
  const info = tensors.get(name)!;
  if (shape) tensors.set(name, { ...info, shape });
  else tensors.delete(name);
  return { ...source, tensors };
}

Deno.test("a model that does not fit its configuration is refused with the tensor's name", async () => {
  using model = openTinyModel();
  const { unet, vae, textEncoder, config } = model;
  const configured = (part: keyof typeof config, change: JsonObject) => ({
    config: { ...config, [part]: { ...config[part], ...change } },
  });
  const refusals: readonly (readonly [Partial<Model>, string])[] = [
    [{ unet: reshaped(unet, "conv_in.weight") }, "1 tensor is missing: conv_in.weight [32, 4, 3, 3]"],
    [
      { unet: reshaped(unet, "conv_in.weight", [32, 5, 3, 3]) },
      "conv_in.weight is [32, 5, 3, 3], not [32, 4, 3, 3]",
    ],
    [{ vae: reshaped(vae, "decoder.conv_norm_out.bias") }, "1 tensor is missing: decoder.conv_norm_out.bias [32]"],
    [{ textEncoder: reshaped(textEncoder, "final_layer_norm.weight", [31]) }, "final_layer_norm.weight is [31]"],
    [configured("unet", { in_channels: 9 }), "maps 9 channels to 4, but the VAE's latents have 4"],
    [configured("unet", { cross_attention_dim: 64 }), "reads a context of width 64, and the text encoder writes 32"],
    [configured("unet", { mid_block_type: "Other" }), 'mid_block_type is "Other"'],
  ];
  await using gpu = await Gpu.open();
  for (const [change, message] of refusals) {
    await assertRejects(() => Pipeline.load(gpu, { ...model, ...change }), ModelFileError, message);
  }
});
