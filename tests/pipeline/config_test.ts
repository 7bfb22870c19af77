import { assertEquals, assertThrows } from "@std/assert";
import { readTextConfig, readUnetConfig, readVaeConfig } from "../../pipeline/nets/config.ts";
import { scheduleFor } from "../../pipeline/schedulers/mod.ts";
import { type JsonObject, ModelFileError } from "../../weights/mod.ts";
import { openTinyModel } from "../tiny_model.ts";

using model = openTinyModel();
const { text_encoder: textEncoder, unet, vae } = model.config;

/** A change to a configuration, and what is said about it. */
type Refusal = readonly [change: JsonObject, message: string];

function assertRefused(read: (json: JsonObject) => unknown, json: JsonObject, refusals: readonly Refusal[]): void {
  for (const [change, message] of refusals) assertThrows(() => read({ ...json, ...change }), ModelFileError, message);
}

Deno.test("the UNet's configuration is read", () => {
  const config = readUnetConfig(unet);
  assertEquals(config.down.map(({ channels }) => channels), [32, 64, 96, 96]);
  assertEquals(config.down.map(({ attention }) => attention), [true, true, true, false]);
  assertEquals(config.up.map(({ channels }) => channels), [96, 96, 64, 32]);
  assertEquals(config.up.map(({ attention }) => attention), [false, true, true, true]);
  assertEquals(config.middle, { channels: 96, attention: true, heads: 4, depths: [1] });
  assertEquals([config.layers, config.contextWidth, config.groups, config.epsilon], [2, 32, 16, 1e-5]);
});

Deno.test("what a UNet may leave out has diffusers' defaults", () => {
  const { in_channels: _in, out_channels: _out, norm_num_groups: _groups, attention_head_dim: _heads, ...rest } = unet;
  const config = readUnetConfig(rest);
  assertEquals([config.inChannels, config.outChannels, config.groups, config.down[0]!.heads], [4, 4, 32, 8]);
});

Deno.test("heads and depths may differ from block to block, and the middle may be missing or plain", () => {
  const config = readUnetConfig({
    ...unet,
    attention_head_dim: [1, 2, 3, 4],
    transformer_layers_per_block: [4, 3, 2, 1],
  });
  assertEquals(config.down.map(({ heads }) => heads), [1, 2, 3, 4]);
  assertEquals(config.down.map(({ depths }) => depths), [[4, 4], [3, 3], [2, 2], [1, 1]]);
  assertEquals(config.up.map(({ depths }) => depths), [[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]]);
  assertEquals(config.middle?.heads, 4);
  assertEquals(readUnetConfig({ ...unet, mid_block_type: null }).middle, undefined);
  assertEquals(readUnetConfig({ ...unet, mid_block_type: "UNetMidBlock2D" }).middle?.attention, false);
});

Deno.test("depths may differ within a block where those of the up blocks are said", () => {
  const down = [1, [2, 2], [4, 3], 1];
  const up = [[1, 2, 3], 4, [5, 6, 7], 1];
  const both = { ...unet, transformer_layers_per_block: down, reverse_transformer_layers_per_block: up };
  const config = readUnetConfig(both);
  assertEquals(config.down.map(({ depths }) => depths), [[1, 1], [2, 2], [4, 3], [1, 1]]);
  assertEquals(config.up.map(({ depths }) => depths), [[1, 2, 3], [4, 4, 4], [5, 6, 7], [1, 1, 1]]);
  const up4 = "reverse_transformer_layers_per_block";
  assertRefused(readUnetConfig, both, [
    [{ [up4]: null }, "reverse_transformer_layers_per_block is nothing, but transformer_layers_per_block differs"],
    [{ [up4]: [1, 1, 1] }, "reverse_transformer_layers_per_block has a length of 3, and there are 4 blocks"],
    [{ [up4]: [[1, 1], 1, 1, 1] }, "reverse_transformer_layers_per_block has a list of 2, and a block has 3 layers"],
    [{ [up4]: [[1, 1, [1]], 1, 1, 1] }, "is a list of 1, not a whole number above 0"],
    [{ transformer_layers_per_block: [1, 1, 33, 1] }, "transformer_layers_per_block is 33; at most 32"],
  ]);
});

Deno.test("a UNet that is not supported is refused with the key and the value", () => {
  const up = ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "AttnUpBlock2D"];
  assertRefused(readUnetConfig, unet, [
    [{ down_block_types: ["DownBlock2D"] }, "down_block_types has a length of 1, and there are 4 blocks"],
    [{ up_block_types: up }, 'up_block_types names "AttnUpBlock2D"; supported are UpBlock2D, CrossAttnUpBlock2D'],
    [{ down_block_types: [1, 2, 3, 4] }, "down_block_types is a list of 4, not a list of names"],
    [{ mid_block_type: "MidBlock" }, 'mid_block_type is "MidBlock"; supported is "UNetMidBlock2DCrossAttn"'],
    [{ block_out_channels: [] }, "block_out_channels is a list of 0, not a list of whole numbers"],
    [{ block_out_channels: [32, 64.5] }, "block_out_channels is 64.5, not a whole number above 0"],
    [{ layers_per_block: 0 }, "layers_per_block is 0, not a whole number above 0"],
    [{ norm_eps: "small" }, 'norm_eps is "small", not a number'],
    [{ attention_head_dim: [1, 2] }, "attention_head_dim has a length of 2, and there are 4 blocks"],
    [{ class_embed_type: "timestep" }, 'class_embed_type is "timestep"; supported is null'],
    [{ act_fn: "relu" }, 'act_fn is "relu"; supported is "silu", "swish"'],
    [{ up_block_types: ["", ...up.slice(1)] }, 'up_block_types names ""'],
    [{ norm_eps: 1e300 }, "norm_eps is 1e+300, not a number from 0 to 0.1"],
  ]);
});

Deno.test("a text encoder that is not supported is refused with the key and the value", () => {
  assertEquals(readTextConfig(textEncoder).activation, "quick_gelu");
  const { hidden_size: _, ...narrow } = textEncoder;
  assertThrows(() => readTextConfig(narrow), ModelFileError, "hidden_size is nothing, not a whole number above 0");
  assertRefused(readTextConfig, textEncoder, [
    [{ hidden_act: "relu" }, 'hidden_act is "relu"; supported is "quick_gelu", "gelu"'],
    [{ num_hidden_layers: -1 }, "num_hidden_layers is -1"],
  ]);
});

Deno.test("a VAE that is not supported is refused with the key and the value", () => {
  assertEquals([readVaeConfig(vae).factor, readVaeConfig(vae).scalingFactor], [8, 0.18215]);
  assertRefused(readVaeConfig, vae, [
    [{ up_block_types: ["AttnUpDecoderBlock2D"] }, 'up_block_types names "AttnUpDecoderBlock2D"'],
    [{ down_block_types: ["DownBlock2D"] }, 'down_block_types names "DownBlock2D"; supported is DownEncoderBlock2D'],
    [{ up_block_types: [""] }, 'up_block_types names ""'],
    [{ scaling_factor: 0 }, "scaling_factor is 0, not a number from 0.001 to 1000"],
    [{ shift_factor: 0.1 }, "shift_factor is 0.1; supported is null, 0"],
    [{ scaling_factor: null, norm_num_groups: "many" }, 'norm_num_groups is "many", not a whole number'],
  ]);
});

/** What no model has, whichever number of a configuration says it. */
const ENDLESS = [1e9, 2 ** 53, 1e300, Infinity, -1, -Infinity];

Deno.test("a number that no model has is refused before anything is planned with it", () => {
  const numbers = (json: JsonObject) => Object.keys(json).filter((key) => typeof json[key] === "number");
  const cases = [[readTextConfig, textEncoder], [readUnetConfig, unet], [readVaeConfig, vae]] as const;
  const read: string[] = [];
  for (const [readConfig, json] of cases) {
    for (const key of numbers(json)) {
      for (const value of ENDLESS) {
        try {
          readConfig({ ...json, [key]: value });
        } catch (error) {
          if (!(error instanceof ModelFileError)) throw error;
          read.push(key);
        }
      }
    }
    for (const key of ["block_out_channels", "transformer_layers_per_block", "attention_head_dim"]) {
      if (!(key in json)) continue;
      for (const value of [new Array(1e5).fill(32), [32, 64, 96, 1e9]]) {
        assertThrows(() => readConfig({ ...json, [key]: value }), ModelFileError, key);
      }
    }
  }
  const most = ENDLESS.length;
  const refused = Object.entries(Object.groupBy(read, (key) => key)).filter(([, all]) => all!.length % most === 0);
  assertEquals(refused.map(([key]) => key).sort(), [
    "attention_head_dim",
    "conv_in_kernel",
    "conv_out_kernel",
    "cross_attention_dim",
    "downsample_padding",
    "freq_shift",
    "hidden_size",
    "in_channels",
    "intermediate_size",
    "latent_channels",
    "layer_norm_eps",
    "layers_per_block",
    "max_position_embeddings",
    "mid_block_scale_factor",
    "norm_eps",
    "norm_num_groups",
    "num_attention_heads",
    "num_hidden_layers",
    "out_channels",
    "sample_size",
    "scaling_factor",
    "transformer_layers_per_block",
    "vocab_size",
  ]);
});

Deno.test("heads and groups that do not divide their channels are refused", () => {
  assertRefused(readTextConfig, textEncoder, [[
    { num_attention_heads: 5 },
    "num_attention_heads is 5, which does not",
  ]]);
  assertRefused(readUnetConfig, unet, [
    [{ attention_head_dim: 7 }, "attention_head_dim is 7, which does not divide 32 channels"],
    [{ attention_head_dim: [4, 4, 5, 4] }, "attention_head_dim is 5, which does not divide 96 channels"],
    [{ norm_num_groups: 5 }, "norm_num_groups is 5, which does not divide 32 channels"],
  ]);
  assertRefused(readVaeConfig, vae, [[{ norm_num_groups: 24 }, "norm_num_groups is 24, which does not divide 32"]]);
});

Deno.test("keys that every object inherits change no configuration", () => {
  const own = (json: JsonObject): JsonObject => {
    const odd = ["__proto__", "constructor", "toString"].map((
      key,
    ) => [key, { ...json, num_attention_heads: 1, act_fn: 1 }]);
    return JSON.parse(`{${[...odd, ...Object.entries(json)].map(([k, v]) => `"${k}":${JSON.stringify(v)}`)}}`);
  };
  assertEquals(readTextConfig(own(textEncoder)), readTextConfig(textEncoder));
  assertEquals(readUnetConfig(own(unet)), readUnetConfig(unet));
  assertEquals(readVaeConfig(own(vae)), readVaeConfig(vae));
  const { scheduler } = model.config;
  assertEquals(scheduleFor(own(scheduler), { steps: 5 }), scheduleFor(scheduler, { steps: 5 }));
  for (const key of ["__proto__", "constructor", "toString"]) {
    assertRefused(readUnetConfig, unet, [[
      { up_block_types: new Array(4).fill(key) },
      `up_block_types names "${key}"`,
    ]]);
    assertRefused(readTextConfig, textEncoder, [[{ hidden_act: key }, `hidden_act is "${key}"; supported`]]);
  }
});
