import { assertEquals } from "@std/assert";
import { byPart, checkpointNaming, isNeeded, PART_NAMES, type PartName, renameOf } from "../../weights/manifest.ts";
import type { Rename } from "../../weights/names.ts";
import { LDM_NAMES } from "./ldm_checkpoint.ts";
import { openTinyPart } from "./tiny_files.ts";

const tiny = new Map(PART_NAMES.map((part) => [part, [...openTinyPart(part).tensors.keys()]]));
const stored = PART_NAMES.flatMap((part) => tiny.get(part)!.map(LDM_NAMES[part]));
const naming = byPart((part): Rename => renameOf(checkpointNaming(part, stored)!, stored));

Deno.test("every name of a checkpoint becomes the canonical one, in its part and in no other", () => {
  for (const part of PART_NAMES) {
    const renamed = stored.map(naming[part]).filter((name) => name !== undefined);
    assertEquals(renamed, tiny.get(part));
  }
});

/** Names as they are in the checkpoints of Stable Diffusion 1.4 and 1.5. */
const KNOWN: readonly (readonly [stored: string, canonical: string])[] = [
  ["input_blocks.0.0.weight", "conv_in.weight"],
  ["input_blocks.1.0.in_layers.2.bias", "down_blocks.0.resnets.0.conv1.bias"],
  ["input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"],
  [
    "input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight",
    "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k.weight",
  ],
  ["input_blocks.11.0.emb_layers.1.weight", "down_blocks.3.resnets.1.time_emb_proj.weight"],
  ["middle_block.1.proj_in.weight", "mid_block.attentions.0.proj_in.weight"],
  ["middle_block.2.out_layers.3.weight", "mid_block.resnets.1.conv2.weight"],
  ["output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"],
  ["output_blocks.5.2.conv.bias", "up_blocks.1.upsamplers.0.conv.bias"],
  ["output_blocks.11.0.skip_connection.weight", "up_blocks.3.resnets.2.conv_shortcut.weight"],
  ["output_blocks.11.1.norm.weight", "up_blocks.3.attentions.2.norm.weight"],
  ["out.2.weight", "conv_out.weight"],
  ["time_embed.2.bias", "time_embedding.linear_2.bias"],
];

const KNOWN_VAE: readonly (readonly [stored: string, canonical: string])[] = [
  ["encoder.down.1.block.0.nin_shortcut.weight", "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"],
  ["encoder.down.2.downsample.conv.weight", "encoder.down_blocks.2.downsamplers.0.conv.weight"],
  ["decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight"],
  ["decoder.mid.block_2.norm1.bias", "decoder.mid_block.resnets.1.norm1.bias"],
  ["decoder.up.3.block.2.conv2.weight", "decoder.up_blocks.0.resnets.2.conv2.weight"],
  ["decoder.up.1.upsample.conv.bias", "decoder.up_blocks.2.upsamplers.0.conv.bias"],
  ["decoder.norm_out.weight", "decoder.conv_norm_out.weight"],
  ["post_quant_conv.weight", "post_quant_conv.weight"],
];

Deno.test("names of Stable Diffusion 1.x are those of diffusers", () => {
  for (const [name, canonical] of KNOWN) assertEquals(naming.unet(`model.diffusion_model.${name}`), canonical);
  for (const [name, canonical] of KNOWN_VAE) assertEquals(naming.vae(`first_stage_model.${name}`), canonical);
});

/** Names as they are in the base checkpoint of Stable Diffusion XL, one for each kind of place. */
const KNOWN_XL: readonly (readonly [PartName, stored: string, canonical: string | readonly string[]])[] = [
  ...([
    ["label_emb.0.0.weight", "add_embedding.linear_1.weight"],
    ["label_emb.0.2.bias", "add_embedding.linear_2.bias"],
    ["input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"],
    [
      "input_blocks.4.1.transformer_blocks.1.attn2.to_v.weight",
      "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_v.weight",
    ],
    ["input_blocks.8.1.proj_out.bias", "down_blocks.2.attentions.1.proj_out.bias"],
    ["output_blocks.2.2.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"],
    [
      "output_blocks.2.1.transformer_blocks.9.ff.net.0.proj.weight",
      "up_blocks.0.attentions.2.transformer_blocks.9.ff.net.0.proj.weight",
    ],
    ["output_blocks.8.0.skip_connection.weight", "up_blocks.2.resnets.2.conv_shortcut.weight"],
  ] as const).map(([name, canonical]) => ["unet", `model.diffusion_model.${name}`, canonical] as const),
  [
    "text_encoder",
    "conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc1.bias",
    "encoder.layers.11.mlp.fc1.bias",
  ],
  ["text_encoder_2", "conditioner.embedders.1.model.ln_final.weight", "final_layer_norm.weight"],
  ["text_encoder_2", "conditioner.embedders.1.model.positional_embedding", "embeddings.position_embedding.weight"],
  [
    "text_encoder_2",
    "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_bias",
    ["q", "k", "v"].map((part) => `encoder.layers.31.self_attn.${part}_proj.bias`),
  ],
];

Deno.test("names of Stable Diffusion XL are those of diffusers", () => {
  const names = KNOWN_XL.map(([, name]) => name);
  for (const [part, name, canonical] of KNOWN_XL) {
    assertEquals(renameOf(checkpointNaming(part, names)!, names)(name), canonical);
    assertEquals(isNeeded(name), true);
  }
  const turned = "conditioner.embedders.1.model.text_projection";
  assertEquals(renameOf(checkpointNaming("text_encoder_2", names)!, names)(turned), {
    turned: "text_projection.weight",
  });
  assertEquals(isNeeded("conditioner.embedders.1.model.logit_scale"), false);
});

Deno.test("a text encoder loses both of its prefixes, or the only one it has", () => {
  for (const prefix of ["cond_stage_model.transformer.", "cond_stage_model.transformer.text_model."]) {
    assertEquals(naming.text_encoder(`${prefix}final_layer_norm.bias`), "final_layer_norm.bias");
    assertEquals(naming.text_encoder(`${prefix}embeddings.position_ids`), undefined);
  }
});

Deno.test("what training leaves behind belongs to no part", () => {
  const names = ["betas", "model_ema.decay", "model_ema.diffusion_modelout2weight", "first_stage_model.loss.logvar"];
  assertEquals(names.filter(isNeeded), []);
  assertEquals(stored.every(isNeeded), true);
});

Deno.test("names within a part that nobody knows stay as they are", () => {
  for (const name of ["input_blocks.1.0.in_layers.7.weight", "label_emb.0.1.weight"]) {
    assertEquals(naming.unet(`model.diffusion_model.${name}`), name);
  }
  assertEquals(naming.vae("first_stage_model.quantize.embedding.weight"), "quantize.embedding.weight");
});
