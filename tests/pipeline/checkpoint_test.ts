import { assertEquals } from "@std/assert";
import { Gpu } from "../../kernels/mod.ts";
import { type Model, openModel, Pipeline, type Request } from "../../pipeline/mod.ts";
import { PART_NAMES, toFloat32 } from "../../weights/mod.ts";
import { openTinyModel, openTinyPart, TOKENIZER } from "../tiny_model.ts";
import { tinyCheckpoint } from "../weights/ldm_checkpoint.ts";
import { type StoredTensor, storeTensors } from "../weights/safetensors_bytes.ts";

const REQUEST: Request = {
  prompt: "a red fox",
  negativePrompt: "",
  seed: 1n,
  steps: 2,
  guidance: 5,
  width: 64,
  height: 64,
  rng: "cpu",
};

const FIXTURE = new URL("../../fixtures/tiny-sd1/", import.meta.url);

async function draw(gpu: Gpu, model: Model): Promise<Uint8Array> {
  await using pipeline = await Pipeline.load(gpu, model);
  for await (const event of pipeline.generate(REQUEST)) if (event.type === "image") return event.image.pixels;
  throw new Error("There was no picture");
}

/** A tiny model in one file; no shape tells that it has fewer heads and groups than a full-size one. */
function openTinyCheckpoint(path: string, tiny: Model = openTinyModel()): Model {
  const model = openModel(path, { tokenizer: TOKENIZER });
  const { text_encoder, text_encoder_2: second, unet, vae, scheduler } = model.config;
  const { attention_head_dim, norm_num_groups } = tiny.config.unet;
  const { hidden_act, num_attention_heads } = tiny.config.text_encoder;
  const config = {
    text_encoder: { ...text_encoder, num_attention_heads, hidden_act },
    ...(second && {
      text_encoder_2: { ...second, num_attention_heads: tiny.config.text_encoder_2!.num_attention_heads },
    }),
    unet: { ...unet, attention_head_dim, norm_num_groups },
    vae: { ...vae, norm_num_groups: tiny.config.vae.norm_num_groups },
    scheduler: { ...tiny.config.scheduler, ...scheduler },
  };
  return { ...model, config };
}

/** The upper halves of values in single precision. */
function toBfloat16(tensor: StoredTensor): StoredTensor {
  const singles = new Uint32Array(new Float32Array(new Float16Array(tensor.bytes.slice().buffer)).buffer);
  return { ...tensor, dtype: "BF16", bytes: new Uint8Array(Uint16Array.from(singles, (bits) => bits >>> 16).buffer) };
}

/** A diffusers folder of the tiny model: its values cut to bfloat16 and stored as F32, each part in two shards. */
function writeShardedFolder(folder: string): void {
  for (
    const path of [
      "model_index.json",
      "scheduler/scheduler_config.json",
      ...PART_NAMES.map((part) => `${part}/config.json`),
    ]
  ) {
    const target = `${folder}/${path}`;
    Deno.mkdirSync(target.slice(0, target.lastIndexOf("/")), { recursive: true });
    Deno.copyFileSync(new URL(path, FIXTURE), target);
  }
  for (const part of PART_NAMES) {
    const source = openTinyPart(part);
    const shards = [new Map<string, StoredTensor>(), new Map<string, StoredTensor>()] as const;
    const weightMap: Record<string, string> = {};
    for (const [index, { name, shape, dtype }] of [...source.tensors.values()].entries()) {
      const { bytes } = toBfloat16({ dtype, shape, bytes: source.read(name) });
      const values = toFloat32({ name, dtype: "BF16", shape, bytes: bytes.length }, bytes.slice());
      shards[index % 2 as 0 | 1].set(name, { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) });
      weightMap[name] = `${index % 2}.safetensors`;
    }
    shards.forEach((shard, i) => Deno.writeFileSync(`${folder}/${part}/${i}.safetensors`, storeTensors(shard)));
    const stem = part === "text_encoder" ? "model" : "diffusion_pytorch_model";
    const index = JSON.stringify({ weight_map: weightMap });
    Deno.writeTextFileSync(`${folder}/${part}/${stem}.safetensors.index.json`, index);
  }
}

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "denoise-test-" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a checkpoint draws the picture of the folder it was made from", () =>
  inFolder(async (folder) => {
    await using gpu = await Gpu.open();
    const path = `${folder}/tiny.safetensors`;
    Deno.writeFileSync(path, tinyCheckpoint());
    using checkpoint = openTinyCheckpoint(path);
    using tiny = openTinyModel();
    assertEquals(await draw(gpu, checkpoint), await draw(gpu, tiny));
  }));

Deno.test("a checkpoint in BF16 draws the picture of a folder of shards that holds its values in F32", () =>
  inFolder(async (folder) => {
    await using gpu = await Gpu.open();
    const path = `${folder}/tiny.safetensors`;
    Deno.writeFileSync(path, tinyCheckpoint({ change: (name, tensor) => [name, toBfloat16(tensor)] }));
    writeShardedFolder(folder);
    using checkpoint = openTinyCheckpoint(path);
    using sharded = openModel(folder, { tokenizer: TOKENIZER });
    assertEquals(await draw(gpu, checkpoint), await draw(gpu, sharded));
  }));

Deno.test("a checkpoint of Stable Diffusion XL draws the picture of the folder it was made from", () =>
  inFolder(async (folder) => {
    await using gpu = await Gpu.open();
    const path = `${folder}/tiny.safetensors`;
    Deno.writeFileSync(path, tinyCheckpoint({ model: "tiny-sdxl" }));
    using tiny = openTinyModel("tiny-sdxl");
    using checkpoint = openTinyCheckpoint(path, tiny);
    const { scheduler, vae: { scaling_factor } } = checkpoint.config;
    assertEquals([checkpoint.family.name, scaling_factor], ["SDXL", 0.13025]);
    const same = { ...tiny, config: { ...tiny.config, scheduler } };
    assertEquals(await draw(gpu, checkpoint), await draw(gpu, same));
  }));

Deno.test("a checkpoint in OpenCLIP's naming draws the picture of the folder that fills up prompts as it does", () =>
  inFolder(async (folder) => {
    await using gpu = await Gpu.open();
    const path = `${folder}/tiny.safetensors`;
    Deno.writeFileSync(path, tinyCheckpoint({ model: "tiny-sd2" }));
    using tiny = openTinyModel("tiny-sd2");
    using checkpoint = openTinyCheckpoint(path, tiny);
    const { tokenizer } = tiny;
    const padded = { ...tokenizer, specialTokens: { ...tokenizer.specialTokens, pad_token: "!" } };
    const { scheduler } = checkpoint.config;
    const same = { ...tiny, tokenizer: padded, config: { ...tiny.config, scheduler } };
    assertEquals(await draw(gpu, checkpoint), await draw(gpu, same));
  }));
