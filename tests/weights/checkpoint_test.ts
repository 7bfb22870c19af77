import { assert, assertEquals, assertThrows } from "@std/assert";
import { openFiles, sd14Config } from "../../weights/mod.ts";
import { ModelFileError, ModelNotFoundError } from "../../weights/errors.ts";
import { PART_NAMES, partsOf } from "../../weights/manifest.ts";
import type { ModelFiles } from "../../weights/model.ts";
import type { TensorSource } from "../../weights/tensor_source.ts";

import { VERSION_XL } from "../../weights/shape_config.ts";
import { type Change, tinyCheckpoint } from "./ldm_checkpoint.ts";
import { type StoredTensor, storeTensors, withFile } from "./safetensors_bytes.ts";
import { openTinyFiles, type TinyName, TOKENIZER } from "./tiny_files.ts";

/** Opens a file of these bytes with CLIP's tokenizer. */
function withCheckpoint(bytes: Uint8Array, use: (model: ModelFiles, path: string) => void): void {
  withFile(bytes, (path) => {
    using model = openFiles(path, { tokenizer: TOKENIZER });
    use(model, path);
  });
}

function assertRefused(bytes: Uint8Array, words: string): void {
  withFile(bytes, (path) => {
    const error = assertThrows(() => openFiles(path, { tokenizer: TOKENIZER }), ModelFileError, words);
    assertEquals(error.file, path);
  });
}

/** Same tensors under the same names, with the same bytes. */
function assertSameWeights(got: ModelFiles, want: ModelFiles): void {
  assertEquals(partsOf(got.parts), partsOf(want.parts));
  for (const part of partsOf(want.parts)) {
    const [own, other] = [got.parts[part]!, want.parts[part]!];
    const known = ({ tensors }: TensorSource) =>
      [...tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape]).sort();
    assertEquals(known(own), known(other));
    for (const name of other.tensors.keys()) assertEquals(own.read(name), other.read(name), name);
  }
}

Deno.test("a checkpoint has the weights of the model it was made from, and nothing of its training", () => {
  using tiny = openTinyFiles();
  withCheckpoint(tinyCheckpoint(), (model) => assertSameWeights(model, tiny));
});

Deno.test("a text encoder without text_model is the same", () => {
  using tiny = openTinyFiles();
  const bare: Change = (name, tensor) => [name.replace("transformer.text_model.", "transformer."), tensor];
  withCheckpoint(tinyCheckpoint({ change: bare }), (model) => assertSameWeights(model, tiny));
});

Deno.test("shapes tell the configuration, Stable Diffusion 1.x the rest", () => {
  using tiny = openTinyFiles();
  withCheckpoint(tinyCheckpoint(), ({ name, config, settings }, path) => {
    assertEquals(name, path.split("/").at(-1)!.replace(".safetensors", ""));
    assertEquals(settings, {});
    // What no shape tells has the value of the full-size model.
    const untold = ["attention_head_dim", "sample_size", "scaling_factor", "hidden_act"];
    for (const part of PART_NAMES) {
      for (const [key, value] of Object.entries(config[part])) {
        const from = untold.includes(key) ? sd14Config : tiny.config;
        // 64 channels a head, and one head where there are fewer channels.
        assertEquals([key, value], [key, key === "num_attention_heads" ? 1 : from[part][key]]);
      }
    }
    assertEquals(config.scheduler, sd14Config.scheduler);
  });
});

Deno.test("a checkpoint that predicts velocities says so in its metadata or by a tensor", () => {
  const scheduler = (bytes: Uint8Array): unknown => {
    let type: unknown;
    withCheckpoint(bytes, ({ config }) => type = config.scheduler.prediction_type);
    return type;
  };
  const metadata = (value: string) => ({ "modelspec.prediction_type": value });
  assertEquals(scheduler(tinyCheckpoint({ metadata: metadata("v") })), "v_prediction");
  assertEquals(scheduler(tinyCheckpoint({ metadata: metadata("epsilon") })), undefined);
  const marked: Change = (name, tensor) => [name.endsWith("time_embed.0.bias") ? "v_pred" : name, tensor];
  assertEquals(scheduler(tinyCheckpoint({ change: marked })), "v_prediction");
});

Deno.test("a checkpoint whose last timestep is pure noise says so by a tensor, and is sampled from it", () => {
  const marked: Change = (name, tensor) => [name.endsWith("time_embed.0.bias") ? "ztsnr" : name, tensor];
  withCheckpoint(tinyCheckpoint({ change: marked }), ({ config: { scheduler } }) => {
    const { _class_name, prediction_type, rescale_betas_zero_snr, timestep_spacing } = scheduler;
    assertEquals([_class_name, prediction_type], ["DDIMScheduler", "v_prediction"]);
    assertEquals([rescale_betas_zero_snr, timestep_spacing], [true, "trailing"]);
  });
});

Deno.test("OpenCLIP's names and joined projections are the text encoder's, its last layer left out", () => {
  using tiny = openTinyFiles("tiny-sd2");
  withCheckpoint(tinyCheckpoint({ model: "tiny-sd2" }), (model) => {
    const names = (files: ModelFiles) => [...files.parts.text_encoder.tensors.keys()].sort();
    assertEquals(names(model), names(tiny));
    for (const name of names(tiny)) {
      assertEquals(model.parts.text_encoder.read(name), tiny.parts.text_encoder.read(name), name);
    }
    // It fills up with its first token, whatever the tokenizer's own files say.
    assertEquals(model.tokenizer.specialTokens.pad_token, "!");
  });
});

for (const name of ["tiny-sdxl", "tiny-ssd"] as const) {
  Deno.test(`a checkpoint of ${name} has the weights and the sizes of its folder, and both tokenizers`, () =>
    assertXl(name));
}

function assertXl(name: TinyName): void {
  using tiny = openTinyFiles(name);
  withCheckpoint(tinyCheckpoint({ model: name }), (model) => {
    assertSameWeights(model, tiny);
    const { config, tokenizer, tokenizer_2 } = model;
    assertEquals([tokenizer, tokenizer_2].map((files) => files?.specialTokens.pad_token), ["<|endoftext|>", "!"]);
    assertEquals(config.scheduler, VERSION_XL.scheduler);
    const untold = ["attention_head_dim", "hidden_act", "sample_size", "scaling_factor"];
    for (const part of partsOf(config)) {
      for (const [key, value] of Object.entries(config[part]!)) {
        const from = untold.includes(key) ? VERSION_XL : tiny.config;
        assertEquals([key, value], [key, key === "num_attention_heads" ? 1 : from[part]![key]]);
      }
    }
  });
}

for (const shape of [[48], [2 ** 13, 2 ** 12]]) {
  Deno.test(`a projection of shape ${shape} is refused`, () => {
    const bytes = new Uint8Array(2 * shape.reduce((a, b) => a * b));
    const change: Change = (name, tensor) => [
      name,
      name.endsWith("text_projection") ? { ...tensor, shape, bytes } : tensor,
    ];
    withFile(tinyCheckpoint({ model: "tiny-sdxl", change }), (path) => {
      const words = `[${shape.join(", ")}], and must be a matrix of at most 33554432 bytes`;
      assertThrows(() => openFiles(path, { tokenizer: TOKENIZER }), ModelFileError, words);
    });
  });
}

/** A checkpoint of version 2's context width in which the norm that tells the prediction has biases of `spread`. */
function versionTwo(spread: number): Uint8Array<ArrayBuffer> {
  const biases = Float16Array.from({ length: 96 }, (_, i) => i % 2 ? spread : -spread);
  return tinyCheckpoint({
    change: (name, tensor) => {
      if (/attn2\.to_[kv]\.weight$/.test(name)) {
        const [rows] = tensor.shape as [number];
        return [name, { ...tensor, shape: [rows, 1024], bytes: new Uint8Array(2 * 1024 * rows) }];
      }
      if (/^model\.diffusion_model\.output_blocks\.11\.1\.transformer_blocks\.0\.norm1\.bias$/.test(name)) {
        return [name, { ...tensor, bytes: new Uint8Array(biases.buffer).subarray(0, tensor.bytes.length) }];
      }
      return [name, tensor];
    },
  });
}

Deno.test("a checkpoint of version 2 has its configuration, and its weights tell what it predicts", () => {
  for (const [spread, prediction] of [[0.05, undefined], [0.2, "v_prediction"]] as const) {
    withCheckpoint(versionTwo(spread), ({ config }) => {
      assertEquals(config.scheduler.prediction_type, prediction);
      const { attention_head_dim, upcast_attention, use_linear_projection, cross_attention_dim } = config.unet;
      assertEquals([attention_head_dim, cross_attention_dim], [[5, 10, 20, 20], 1024]);
      assertEquals([upcast_attention, use_linear_projection], [true, true]);
      assertEquals(config.text_encoder.hidden_act, "gelu");
    });
  }
});

Deno.test("an inpainting checkpoint is told by its channels", () => {
  withCheckpoint(tinyCheckpoint({ model: "tiny-inpaint" }), ({ config }) => assertEquals(config.unet.in_channels, 9));
});

Deno.test("a checkpoint's tokenizer lies beside it or is given", () => {
  withFile(tinyCheckpoint(), (path) => {
    const beside = `${path.slice(0, path.lastIndexOf("/"))}/tokenizer`;
    const words = `there is no folder ${beside}: give it CLIP's with --tokenizer DIR`;
    assertThrows(() => openFiles(path), ModelNotFoundError, words);
    assertThrows(() => openFiles(path, { tokenizer: "/nowhere" }), ModelNotFoundError, "no folder /nowhere");
    Deno.mkdirSync(beside);
    assertThrows(() => openFiles(path), ModelNotFoundError, `There is no tokenizer in ${beside}`);
    for (const name of ["vocab.json", "merges.txt"]) Deno.copyFileSync(`${TOKENIZER}/${name}`, `${beside}/${name}`);
    using model = openFiles(path);
    assertEquals(model.tokenizer.vocab, Deno.readTextFileSync(`${TOKENIZER}/vocab.json`));
  });
});

Deno.test("a tokenizer that is given goes before an embedded model's own", () => {
  using model = openFiles("emoji", { tokenizer: TOKENIZER });
  assertEquals(model.tokenizer.json, undefined);
});

/** One tensor of zeros. */
function zeros(shape: readonly number[]): StoredTensor {
  return { dtype: "F16", shape, bytes: new Uint8Array(2 * shape.reduce((a, b) => a * b, 1)) };
}

function fileOf(shapes: Readonly<Record<string, readonly number[]>>): Uint8Array<ArrayBuffer> {
  return storeTensors(new Map(Object.entries(shapes).map(([name, shape]) => [name, zeros(shape)])));
}

const UNET = "model.diffusion_model.";
const KEYS = `${UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight`;

const OTHERS: readonly (readonly [kind: string, shapes: Readonly<Record<string, readonly number[]>>])[] = [
  ["InstructPix2Pix", { [`${UNET}input_blocks.0.0.weight`]: [320, 8, 3, 3] }],
  ["the refiner of Stable Diffusion XL", { [KEYS]: [1280, 1280] }],
  ["the refiner of Stable Diffusion XL", { "conditioner.embedders.0.model.ln_final.bias": [1280] }],
  ["Stable Diffusion 3", { [`${UNET}joint_blocks.0.x_block.attn.proj.bias`]: [1536] }],
  ["Flux", { "double_blocks.0.img_attn.proj.bias": [3072] }],
  ["a LoRA, which --lora takes beside a model", { "lora_unet_mid_block_attentions_0_proj_in.alpha": [1] }],
  ["a textual inversion, which --embedding takes beside a model", { emb_params: [1, 768] }],
  ["a ControlNet, which --controlnet takes beside a model", { "control_model.zero_convs.0.0.bias": [320] }],
  ["the UNet alone, as diffusers saves it", { "conv_in.bias": [320], "down_blocks.0.resnets.0.norm1.bias": [320] }],
  ["the tiny VAE alone, which --vae takes beside a model", { "decoder.layers.0.bias": [64] }],
  ["the VAE alone, which --vae takes beside a model", { "decoder.conv_in.bias": [512] }],
  ["the text encoder alone", { "text_model.encoder.layers.0.mlp.fc1.bias": [3072] }],
];

for (const [kind, shapes] of OTHERS) {
  Deno.test(`${kind} is refused by name, told by ${Object.keys(shapes)[0]}`, () => {
    assertRefused(fileOf(shapes), `this is ${kind}, and only`);
  });
}

Deno.test("a checkpoint without a part is refused", () => {
  for (
    const [title, prefix] of [
      ["UNet", "model.diffusion_model."],
      ["VAE", "first_stage_model."],
      ["text encoder", "cond_stage_model.transformer."],
    ]
  ) {
    const without = tinyCheckpoint({
      change: (name, tensor) => name.startsWith(prefix!) ? undefined : [name, tensor],
    });
    assertRefused(without, `the file holds no ${title} (${prefix}*`);
  }
  assertRefused(fileOf({ something: [1] }), "the file holds no text encoder");
});

Deno.test("numbers in names that no model has make no layers, and are unknown", () => {
  const layer = /^(.*(?:blocks\.|up\.|layers\.))0(\..*)$/;
  for (const number of ["128", "999999999", "9".repeat(200)]) {
    const change: Change = (name, tensor) => [name.replace(layer, `$1${number}$2`).slice(0, 256), tensor];
    withCheckpoint(tinyCheckpoint({ change }), ({ config, parts }) => {
      for (const { length } of [config.unet.block_out_channels, config.vae.block_out_channels] as unknown[][]) {
        assert(length < 128);
      }
      assert((config.text_encoder.num_hidden_layers as number) < 128);
      const names = PART_NAMES.flatMap((part) => [...parts[part].tensors.keys()]);
      assert(names.some((name) => name.includes("99999") || name.includes("128")));
    });
  }
});
