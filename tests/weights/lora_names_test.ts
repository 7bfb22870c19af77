import { assert, assertEquals } from "@std/assert";
import { originalUnetModules, unetNames } from "../../weights/ldm_names.ts";
import { splitName, targetsOf } from "../../weights/lora_names.ts";
import { openTinyFiles, openTinyPart } from "./tiny_files.ts";

/** Names as they occur in files of kohya's scripts, diffusers, PEFT, LyCORIS and others, by what they are to which layer. */
const SPELLINGS: Readonly<Record<string, readonly string[]>> = {
  "unet down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q down": [
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
    "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.default.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.default_0.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
    "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
    "base_model.model.unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
    "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.lora_down.weight",
    "lycoris_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
  ],
  "unet down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0 up": [
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight",
    "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_out_0.lora_up.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_B.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_B.default.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight",
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.lora.up.weight",
  ],
  "unet down_blocks.1.attentions.1.transformer_blocks.0.ff.net.0.proj alpha": [
    "lora_unet_down_blocks_1_attentions_1_transformer_blocks_0_ff_net_0_proj.alpha",
    "lora_unet_input_blocks_5_1_transformer_blocks_0_ff_net_0_proj.alpha",
    "unet.down_blocks.1.attentions.1.transformer_blocks.0.ff.net.0.proj.alpha",
  ],
  "unet mid_block.attentions.0.proj_in down": [
    "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
    "lora_unet_middle_block_1_proj_in.lora_down.weight",
  ],
  "unet mid_block.resnets.1.conv2 mid": [
    "lora_unet_mid_block_resnets_1_conv2.lora_mid.weight",
    "lora_unet_middle_block_2_out_layers_3.lora_mid.weight",
  ],
  "unet up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_k up": [
    "lora_unet_up_blocks_1_attentions_2_transformer_blocks_0_attn2_to_k.lora_up.weight",
    "lora_unet_output_blocks_5_1_transformer_blocks_0_attn2_to_k.lora_up.weight",
  ],
  "unet down_blocks.1.resnets.0.conv1 down": [
    "lora_unet_down_blocks_1_resnets_0_conv1.lora_down.weight",
    "lora_unet_input_blocks_4_0_in_layers_2.lora_down.weight",
  ],
  "unet down_blocks.1.resnets.0.time_emb_proj diff_b": [
    "lora_unet_down_blocks_1_resnets_0_time_emb_proj.diff_b",
    "lora_unet_input_blocks_4_0_emb_layers_1.diff_b",
  ],
  "unet down_blocks.1.resnets.0.conv_shortcut diff": [
    "lora_unet_down_blocks_1_resnets_0_conv_shortcut.diff",
    "lora_unet_input_blocks_4_0_skip_connection.diff",
  ],
  "unet down_blocks.0.downsamplers.0.conv up": [
    "lora_unet_down_blocks_0_downsamplers_0_conv.lora_up.weight",
    "lora_unet_input_blocks_3_0_op.lora_up.weight",
  ],
  "unet up_blocks.0.upsamplers.0.conv down": [
    "lora_unet_up_blocks_0_upsamplers_0_conv.lora_down.weight",
    "lora_unet_output_blocks_2_1_conv.lora_down.weight",
  ],
  "unet up_blocks.1.upsamplers.0.conv down": ["lora_unet_output_blocks_5_2_conv.lora_down.weight"],
  "unet conv_in diff": ["lora_unet_conv_in.diff", "lora_unet_input_blocks_0_0.diff"],
  "unet conv_out diff": ["lora_unet_conv_out.diff", "lora_unet_out_2.diff"],
  "unet time_embedding.linear_1 down": [
    "lora_unet_time_embedding_linear_1.lora_down.weight",
    "lora_unet_time_embed_0.lora_down.weight",
  ],
  "unet up_blocks.3.resnets.2.norm1 diff": ["lora_unet_up_blocks_3_resnets_2_norm1.w_norm"],
  "unet up_blocks.3.resnets.2.norm1 diff_b": ["lora_unet_up_blocks_3_resnets_2_norm1.b_norm"],
  "unet up_blocks.3.attentions.0.transformer_blocks.0.attn1.to_v hada_w1_a": [
    "lora_unet_up_blocks_3_attentions_0_transformer_blocks_0_attn1_to_v.hada_w1_a",
  ],
  "unet up_blocks.3.resnets.0.conv1 hada_t2": ["lora_unet_up_blocks_3_resnets_0_conv1.hada_t2"],
  "unet up_blocks.3.attentions.0.transformer_blocks.0.attn1.to_v lokr_w2_b": [
    "lora_unet_up_blocks_3_attentions_0_transformer_blocks_0_attn1_to_v.lokr_w2_b",
    "lycoris_up_blocks_3_attentions_0_transformer_blocks_0_attn1_to_v.lokr_w2_b",
  ],
  "unet up_blocks.3.resnets.0.conv1 lokr_t2": ["lora_unet_up_blocks_3_resnets_0_conv1.lokr_t2"],
  "unet mid_block.attentions.0.transformer_blocks.0.attn2.to_v dora_scale": [
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v.dora_scale",
  ],
  "unet mid_block.attentions.0.transformer_blocks.0.attn2.to_v magnitude": [
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora_magnitude_vector",
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora_magnitude_vector.weight",
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora_magnitude_vector.default.weight",
  ],
  "text_encoder encoder.layers.0.self_attn.q_proj down": [
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight",
    "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight",
    "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
    "base_model.model.text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
    "text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
    "text_encoder.encoder.layers.0.self_attn.q_proj.lora_A.default.weight",
  ],
  "text_encoder encoder.layers.0.self_attn.out_proj up": [
    "lora_te_text_model_encoder_layers_0_self_attn_out_proj.lora_up.weight",
    "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.up.weight",
    "text_encoder.text_model.encoder.layers.0.self_attn.out_proj.lora_linear_layer.up.weight",
  ],
  "text_encoder encoder.layers.1.mlp.fc1 alpha": [
    "lora_te_text_model_encoder_layers_1_mlp_fc1.alpha",
    "lora_te1_text_model_encoder_layers_1_mlp_fc1.alpha",
    "text_encoder.text_model.encoder.layers.1.mlp.fc1.alpha",
  ],
  "text_encoder encoder.layers.1.layer_norm1 diff": ["lora_te_text_model_encoder_layers_1_layer_norm1.diff"],
};

/** Names that belong to no layer of Stable Diffusion 1.x, or say nothing that is known. */
const STRANGE: readonly string[] = [
  "lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
  "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight",
  "lora_te2_text_projection.lora_down.weight",
  "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_down.weight",
  "lora_unet_label_emb_0_0.lora_down.weight",
  "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
  "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
  "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_x.lora_down.weight",
  "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_sideways.weight",
  "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.bias",
  "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.oft_blocks",
  "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.on_input",
  "lora_unet_down_blocks_9_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight",
  "lora_unet_output_blocks_2_2_conv_x.lora_up.weight",
  "lora_te_text_model_embeddings_token_embedding.diff",
  "bundle_emb.mine.string_to_param.*",
  "first_stage_model.decoder.conv_in.weight",
  "lora_unet_.lora_down.weight",
  ".alpha",
  "alpha",
  "__proto__.alpha",
  "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
];

const parts = openTinyFiles().parts;

function meaningOf(name: string): string | undefined {
  const { module, role } = splitName(name) ?? {};
  const target = module === undefined ? undefined : targetsOf(parts)(module);
  return target && `${target.part} ${target.module} ${role}`;
}

Deno.test("every spelling of the table means its layer", () => {
  const all = Object.entries(SPELLINGS);
  assert(all.flatMap(([, names]) => names).length >= 60);
  for (const [meaning, names] of all) for (const name of names) assertEquals(meaningOf(name), meaning, name);
});

Deno.test("names that are no layer's, or end like nothing that is known, mean nothing", () => {
  assert(STRANGE.length >= 20);
  for (const name of STRANGE) assertEquals(meaningOf(name), undefined, name);
});

Deno.test("every layer of a UNet has an original spelling, and that means this layer", () => {
  for (const model of ["tiny-sd1", "tiny-sd2", "tiny-bk-base", "tiny-bk-small", "tiny-bk-tiny"] as const) {
    const unet = openTinyPart("unet", model).tensors;
    const spellings = originalUnetModules(unet.keys());
    const modules = [...new Set([...unet.keys()].map((name) => name.replace(/\.\w+$/, "")))];
    const of = new Map(modules.map((module) => [module, spellings(module)]));
    // What follows an attention is counted on: the file itself decides which of two spellings is there.
    const names = [...of.values()].flat().map((spelling) => `${spelling}.weight`);
    const back = unetNames(names);
    for (const [module, all] of of) {
      assert(all.length > 0, module);
      for (const spelling of all) assertEquals(back(`${spelling}.weight`), `${module}.weight`, `${model} ${spelling}`);
    }
  }
});
