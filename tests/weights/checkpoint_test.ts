import { assertEquals, assertThrows } from "@std/assert";
import { openModel } from "../../weights/mod.ts";
import { ModelFileError, ModelNotFoundError } from "../../weights/errors.ts";
import type { Model } from "../../weights/model.ts";
import { sd14Config } from "../../weights/sd14.ts";
import type { TensorSource } from "../../weights/tensor_source.ts";
import { openTinyModel, TOKENIZER } from "../tiny_model.ts";
import { type Change, tinyCheckpoint } from "./ldm_checkpoint.ts";
import { type StoredTensor, storeTensors, withFile } from "./safetensors_bytes.ts";

/** Opens a file of these bytes with CLIP's tokenizer. */
function withCheckpoint(bytes: Uint8Array, use: (model: Model, path: string) => void): void {
  withFile(bytes, (path) => {
    using model = openModel(path, { tokenizer: TOKENIZER });
    use(model, path);
  });
}

function assertRefused(bytes: Uint8Array, words: string): void {
  withFile(bytes, (path) => {
    const error = assertThrows(() => openModel(path, { tokenizer: TOKENIZER }), ModelFileError, words);
    assertEquals(error.file, path);
  });
}

/** Same tensors under the same names, with the same bytes. */
function assertSameWeights(got: Model, want: Model): void {
  for (const part of ["textEncoder", "unet", "vae"] as const) {
    const known = ({ tensors }: TensorSource) =>
      [...tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape]);
    assertEquals(known(got[part]), known(want[part]));
    for (const name of want[part].tensors.keys()) assertEquals(got[part].read(name), want[part].read(name), name);
  }
}

Deno.test("a checkpoint has the weights of the model it was made from, and nothing of its training", () => {
  using tiny = openTinyModel();
  withCheckpoint(tinyCheckpoint(), (model) => assertSameWeights(model, tiny));
});

Deno.test("a text encoder without text_model is the same", () => {
  using tiny = openTinyModel();
  const bare: Change = (name, tensor) => [name.replace("transformer.text_model.", "transformer."), tensor];
  withCheckpoint(tinyCheckpoint(bare), (model) => assertSameWeights(model, tiny));
});

Deno.test("shapes tell the configuration, Stable Diffusion 1.x the rest", () => {
  using tiny = openTinyModel();
  withCheckpoint(tinyCheckpoint(), ({ name, config, defaults }, path) => {
    assertEquals(name, path.split("/").at(-1)!.replace(".safetensors", ""));
    assertEquals(defaults, { steps: 20, guidance: 7.5, longPrompt: "chunk", width: 512, height: 512 });
    // What no shape tells has the value of the full-size model.
    const untold = ["attention_head_dim", "num_attention_heads", "sample_size", "scaling_factor", "hidden_act"];
    for (const part of ["textEncoder", "unet", "vae"] as const) {
      for (const [key, value] of Object.entries(config[part])) {
        const from = untold.includes(key) ? sd14Config : tiny.config;
        assertEquals([key, value], [key, from[part][key]]);
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
  assertEquals(scheduler(tinyCheckpoint(undefined, metadata("v"))), "v_prediction");
  assertEquals(scheduler(tinyCheckpoint(undefined, metadata("epsilon"))), undefined);
  const marked: Change = (name, tensor) => [name.endsWith("time_embed.0.bias") ? "v_pred" : name, tensor];
  assertEquals(scheduler(tinyCheckpoint(marked)), "v_prediction");
});

Deno.test("a checkpoint's tokenizer lies beside it or is given", () => {
  withFile(tinyCheckpoint(), (path) => {
    const beside = `${path.slice(0, path.lastIndexOf("/"))}/tokenizer`;
    const words = `there is no folder ${beside}: give it CLIP's with --tokenizer DIR`;
    assertThrows(() => openModel(path), ModelNotFoundError, words);
    assertThrows(() => openModel(path, { tokenizer: "/nowhere" }), ModelNotFoundError, "no folder /nowhere");
    Deno.mkdirSync(beside);
    assertThrows(() => openModel(path), ModelNotFoundError, `There is no tokenizer in ${beside}`);
    for (const name of ["vocab.json", "merges.txt"]) Deno.copyFileSync(`${TOKENIZER}/${name}`, `${beside}/${name}`);
    using model = openModel(path);
    assertEquals(model.tokenizer.vocab, Deno.readTextFileSync(`${TOKENIZER}/vocab.json`));
  });
});

Deno.test("a tokenizer that is given goes before an embedded model's own", () => {
  using model = openModel("emoji", { tokenizer: TOKENIZER });
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
  ["a model for inpainting", { [`${UNET}input_blocks.0.0.weight`]: [320, 9, 3, 3], [KEYS]: [1280, 768] }],
  ["InstructPix2Pix", { [`${UNET}input_blocks.0.0.weight`]: [320, 8, 3, 3] }],
  ["Stable Diffusion 2", { [KEYS]: [1280, 1024], [`${UNET}input_blocks.0.0.weight`]: [320, 9, 3, 3] }],
  ["Stable Diffusion 2", { "cond_stage_model.model.ln_final.bias": [1024] }],
  ["Stable Diffusion XL", { [KEYS]: [1280, 2048] }],
  ["Stable Diffusion XL", { "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias": [768] }],
  ["the refiner of Stable Diffusion XL", { [KEYS]: [1280, 1280] }],
  ["Stable Diffusion 3", { [`${UNET}joint_blocks.0.x_block.attn.proj.bias`]: [1536] }],
  ["Flux", { "double_blocks.0.img_attn.proj.bias": [3072] }],
  ["a LoRA", { "lora_unet_mid_block_attentions_0_proj_in.alpha": [1] }],
  ["a textual inversion", { emb_params: [1, 768] }],
  ["a ControlNet", { "control_model.zero_convs.0.0.bias": [320] }],
  ["the UNet alone, as diffusers saves it", { "conv_in.bias": [320], "down_blocks.0.resnets.0.norm1.bias": [320] }],
  ["the VAE alone", { "decoder.conv_in.bias": [512] }],
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
    const without = tinyCheckpoint((name, tensor) => name.startsWith(prefix!) ? undefined : [name, tensor]);
    assertRefused(without, `the file holds no ${title} (${prefix}*), so it is no checkpoint of a whole model`);
  }
  assertRefused(fileOf({ something: [1] }), "the file holds no text encoder");
});
