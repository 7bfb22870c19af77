import { assertEquals, assertThrows } from "@std/assert";
import { describeWeights } from "../../pipeline/models.ts";
import { ModelFileError, ModelNotFoundError } from "../../weights/mod.ts";
import { tinyCheckpoint } from "../weights/ldm_checkpoint.ts";
import { type StoredTensor, storeTensors, withFile } from "../weights/safetensors_bytes.ts";
import { authors, vaeFile } from "../weights/vae_file.ts";

const BYTES: Readonly<Record<string, number>> = { F32: 4, F16: 2, I64: 8, F8_E4M3: 1 };

function tensor(shape: readonly number[], dtype = "F16"): StoredTensor {
  return { dtype, shape, bytes: new Uint8Array(shape.reduce((a, b) => a * b, BYTES[dtype]!)) };
}

function fileOf(shapes: Readonly<Record<string, readonly number[]>>, dtype = "F16"): Uint8Array {
  return storeTensors(new Map(Object.entries(shapes).map(([name, shape]) => [name, tensor(shape, dtype)])));
}

/** What it is, apart from numbers of tensors and bytes. */
function told(bytes: Uint8Array): Record<string, unknown> {
  let description: Record<string, unknown> = {};
  withFile(bytes, (path) => {
    const { precision: _, tensors: _t, parameters: _p, bytes: _b, ...rest } = describeWeights(path);
    description = rest;
  });
  return description;
}

const FIXTURES = new URL("../../fixtures/", import.meta.url).pathname;

Deno.test("a LoRA is told with its format, methods, rank and the parts that it changes", () => {
  for (
    const [name, format, methods, tensors] of [
      ["kohya", "kohya", ["LoCon"], 669],
      ["peft", "PEFT", ["LoRA"], 338],
      ["dora", "kohya", ["LoRA", "DoRA"], 676],
      ["loha", "kohya", ["LoHa"], 1005],
      ["lokr", "kohya", ["LoKr"], 804],
    ] as const
  ) {
    const { precision, tensors: count, bytes, parameters, ...rest } = describeWeights(
      `${FIXTURES}lora/${name}.safetensors`,
    );
    const parts = ["text encoder", "UNet"];
    assertEquals(rest, { kind: "LoRA", format, methods, ranks: [4, 4], parts }, name);
    assertEquals([precision, count, bytes], [{ F16: tensors }, tensors, 2 * parameters]);
  }
  const keys = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k";
  for (
    const [shapes, description] of [
      [{
        [`${keys}.lora_down.weight`]: [8, 2048],
        [`${keys}.lora_up.weight`]: [640, 8],
        "lora_te2_a.lora_down.weight": [4, 1],
      }, {
        family: "SDXL",
        format: "kohya",
        methods: ["LoRA"],
        ranks: [4, 8],
        parts: ["second text encoder", "UNet"],
      }],
      [{ "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight": [4, 768] }, {
        family: "SD 1.x",
        format: "diffusers",
        methods: ["LoRA"],
        ranks: [4, 4],
        parts: ["UNet"],
      }],
      [{ "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.hada_w1_b": [2, 1024] }, {
        family: "SD 2.x",
        format: "LyCORIS",
        methods: ["LoHa"],
        ranks: [2, 2],
        parts: ["UNet"],
      }],
    ] as const
  ) assertEquals(told(fileOf(shapes)), { kind: "LoRA", ...description });
});

Deno.test("a textual inversion is told with its vectors, and which models it is for", () => {
  const kind = "textual inversion";
  for (
    const [shapes, description] of [
      [{ emb_params: [8, 768] }, { family: "SD 1.x", vectors: 8 }],
      [{ "<thing>": [1024] }, { family: "SD 2.x", vectors: 1 }],
      [{ clip_l: [2, 768], clip_g: [2, 1280] }, { family: "SDXL", vectors: 2 }],
      [{ "<thing>": [3, 32] }, { vectors: 3 }],
    ] as const
  ) assertEquals(told(fileOf(shapes)), { kind, ...description });
  const stray = new Map([["string_to_param.*", tensor([2, 768])], ["string_to_token.*", tensor([1], "I64")]]);
  assertEquals(told(storeTensors(stray)), { kind, family: "SD 1.x", vectors: 2 });
});

Deno.test("a checkpoint is told with its family, whatever its types; without a part it is said which there are", () => {
  const parts = ["text encoder", "UNet", "VAE"];
  const checkpoint = { kind: "checkpoint", family: "SD 1.x", parts };
  assertEquals(told(tinyCheckpoint()), checkpoint);
  assertEquals(told(tinyCheckpoint({ model: "tiny-sdxl" })), {
    kind: "checkpoint",
    family: "SDXL",
    parts: ["text encoder", "second text encoder", "UNet", "VAE"],
  });
  const change = (name: string, { shape }: StoredTensor) => [name, tensor(shape, "F8_E4M3")] as const;
  assertEquals(told(tinyCheckpoint({ change })), checkpoint);
  const unet = "model.diffusion_model.";
  const keys = `${unet}middle_block.1.transformer_blocks.0.attn2.to_k.weight`;
  const some = { kind: "parts of a checkpoint", family: "SD 2.x", parts: ["UNet"] };
  assertEquals(told(fileOf({ [`${unet}input_blocks.0.0.weight`]: [320, 4, 3, 3], [keys]: [1280, 1024] })), some);
  assertEquals(told(fileOf({ [`${unet}joint_blocks.0.x`]: [1] })), {
    kind: "checkpoint",
    family: "Stable Diffusion 3",
  });
  assertEquals(told(fileOf({ [keys]: [1280, 1280] })), { kind: "checkpoint", family: "SDXL, the refiner" });
});

Deno.test("a VAE, a tiny VAE and other parts are told by their names", () => {
  assertEquals(told(vaeFile("tiny-sd1")), { kind: "VAE" });
  assertEquals(told(vaeFile("taesd")), { kind: "tiny VAE" });
  assertEquals(told(vaeFile("taesd", authors("decoder"))), { kind: "tiny VAE" });
  assertEquals(told(fileOf({ "text_model.encoder.layers.0.mlp.fc1.bias": [8] })), { kind: "text encoder" });
  const keys = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight";
  assertEquals(told(fileOf({ "down_blocks.0.a": [1], [keys]: [8, 768] })), { kind: "UNet", family: "SD 1.x" });
  const control = { "controlnet_cond_embedding.conv_in.weight": [1], "down_blocks.0.a": [1], [keys]: [8, 2048] };
  assertEquals(told(fileOf(control)), { kind: "ControlNet", family: "SDXL" });
});

Deno.test("numbers are those of the header", () =>
  withFile(storeTensors(new Map([["decoder.a", tensor([2, 3])], ["decoder.b", tensor([], "F32")]])), (path) => {
    const precision = { F16: 1, F32: 1 };
    assertEquals(describeWeights(path), { kind: "VAE", precision, tensors: 2, parameters: 7, bytes: 16 });
  }));

Deno.test("what is no weights file, or of no kind that is known, is refused", () => {
  for (
    const [bytes, problem] of [
      [fileOf({ a: [1], b: [2] }), 'this is no kind of weights that is known: 2 tensors ("a", "b")'],
      [fileOf({ a: [1025, 768] }), "this is no kind of weights that is known: 1 tensor"],
      [fileOf({ a: [4] }, "I64"), "this is no kind of weights that is known: 1 tensor"],
      [fileOf({}), "this is no kind of weights that is known: 0 tensors"],
      [fileOf({ a: [4] }).subarray(0, -1), "the download may be incomplete"],
      [new TextEncoder().encode("GGUF\x03\0\0\0\x07\0\0\0\0\0\0\0"), "this is a GGUF file"],
    ] as const
  ) withFile(bytes, (path) => assertThrows(() => describeWeights(path), ModelFileError, problem));
  assertThrows(() => describeWeights("/nowhere/x.pt"), ModelFileError, "a Python pickle can run any program");
  assertThrows(() => describeWeights("/nowhere/x.safetensors"), ModelNotFoundError, "There is no file");
});
