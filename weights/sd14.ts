/**
 * Stable Diffusion 1.4 but for its weights: with computed ones (see {@link openFormula}) a machine can be measured
 * at full size without a download.
 * @module
 */
import type { ModelDefaults } from "./defaults.ts";
import type { ModelConfig } from "./model.ts";
import type { TokenizerFiles } from "./tokenizer_files.ts";

/** The keys of CompVis/stable-diffusion-v1-4's configurations that decide shapes and values. */
export const sd14Config: ModelConfig = {
  textEncoder: {
    hidden_act: "quick_gelu",
    hidden_size: 768,
    intermediate_size: 3072,
    layer_norm_eps: 1e-5,
    max_position_embeddings: 77,
    num_attention_heads: 12,
    num_hidden_layers: 12,
    vocab_size: 49408,
  },
  unet: {
    attention_head_dim: 8,
    block_out_channels: [320, 640, 1280, 1280],
    cross_attention_dim: 768,
    down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    in_channels: 4,
    layers_per_block: 2,
    out_channels: 4,
    sample_size: 64,
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  },
  vae: {
    block_out_channels: [128, 256, 512, 512],
    latent_channels: 4,
    layers_per_block: 2,
    out_channels: 3,
    scaling_factor: 0.18215,
  },
  scheduler: {
    _class_name: "PNDMScheduler",
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    beta_start: 0.00085,
    num_train_timesteps: 1000,
    skip_prk_steps: true,
    steps_offset: 1,
  },
};

/** A tokenizer with CLIP's first and last token and its length, and no words: any prompt costs the same. */
export const sd14Tokenizer: TokenizerFiles = {
  vocab: JSON.stringify({ "<|startoftext|>": 49406, "<|endoftext|>": 49407 }),
  merges: "",
  config: { model_max_length: 77 },
  specialTokens: {},
};

/** 20 steps, as the paper counts them. */
export const sd14Defaults: ModelDefaults = { steps: 20, guidance: 7.5, longPrompt: "chunk", width: 512, height: 512 };
