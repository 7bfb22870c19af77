import { assert, assertEquals, assertRejects } from "@std/assert";
import { Gpu } from "../../kernels/mod.ts";
import { complete, type Lora, openLora, Pipeline, type Request, RequestError } from "../../pipeline/mod.ts";
import type { Model } from "../../pipeline/model.ts";
import { readGolden } from "../golden.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { draw } from "./drawn.ts";
import { ALLOWED, assertStage, psnr, toPixels } from "./stages.ts";

/** Decibels that a run in float32 must reach. */
const QUALITY = 45;

interface Case {
  readonly prompt: string;
  readonly seed: number;
  readonly num_inference_steps: number;
  readonly guidance_scale: number;
  readonly scheduler: string;
  /** Files and weights: `a.safetensors:0.5,b.safetensors:0.4`. */
  readonly lora: string;
}

const FOLDER = new URL("../../fixtures/lora/", import.meta.url).pathname;
const CASES: Readonly<Record<string, Case>> = JSON.parse(Deno.readTextFileSync(`${FOLDER}cases.json`));
const GOLDEN = readGolden("fixtures/lora/cases.safetensors");

function lorasOf(model: Model, text: string): readonly Lora[] {
  return text.split(",").map((one) => {
    const [name, weight] = one.split(":") as [string, string];
    return { name, weight: Number(weight), file: openLora(FOLDER + name, model) };
  });
}

function requestOf({ prompt, seed, num_inference_steps: steps, guidance_scale: guidance, scheduler }: Case): Request {
  const own = { prompt, seed: BigInt(seed), steps, guidance, scheduler };
  return { ...own, negativePrompt: "", width: 128, height: 128, rng: "cpu" };
}

for (const backend of BACKENDS) {
  // Weights are merged before either backend sees them, or, where they are plain, by the one that packs them.
  const names = backend.name === "texture" ? Object.keys(CASES) : ["two", "dora"];
  for (const name of names) {
    const run = CASES[name]!;
    Deno.test(`LoRA ${name}: PyTorch's picture, ${backend.name} kernels`, async () => {
      await using gpu = await Gpu.open();
      using model = openTinyModel();
      const backends = { exact: backend, half: backend };
      await using pipeline = await Pipeline.load(gpu, model, { backends, precision: "f32" });
      const { pixels, latents } = await draw(pipeline, { ...requestOf(run), loras: lorasOf(model, run.lora) });
      for (const [stage, latent] of [["latents.first", latents[0]], ["latents.last", latents.at(-1)]] as const) {
        assertStage(stage, latent!, GOLDEN.get(`${name}.${stage}`)!.data, ALLOWED.unet);
      }
      const quality = psnr(pixels, toPixels(GOLDEN.get(`${name}.image`)!));
      assert(quality >= QUALITY, `${name} reaches ${quality} dB`);
    });
  }
}

for (const backend of BACKENDS) {
  Deno.test(`LoRAs come and go between pictures, each of which is what it is alone, ${backend.name} kernels`, async () => {
    await using gpu = await Gpu.open();
    using opened = openTinyModel();
    const reads: string[] = [];
    const unet = opened.parts.unet;
    const watched: typeof unet = {
      ...unet,
      read: (name, options) => (reads.push(name), unet.read(name, options)),
      readAsync: (name, options) => (reads.push(name), unet.readAsync(name, options)),
    };
    const model = { ...opened, parts: { ...opened.parts, unet: watched } };
    const request: Request = { ...requestOf(CASES.kohya!), steps: 2, width: 64, height: 64 };
    const backends = { exact: backend, half: backend };
    await using pipeline = await Pipeline.load(gpu, model, { backends });
    const [kohya, lokr] = ["kohya.safetensors:0.8", "lokr.safetensors:1"].map((text) => lorasOf(model, text));
    const pixelsOf = async (loras?: readonly Lora[]) => {
      reads.length = 0;
      return (await draw(pipeline, { ...request, ...(loras && { loras }) })).pixels;
    };
    const plain = await pixelsOf();
    assertEquals(reads, []);
    const first = await pixelsOf(kohya);
    assertEquals(new Set(reads), new Set(kohya![0]!.file.changes.unet.keys()));
    assert(psnr(first, plain) < QUALITY, "a LoRA changed nothing");
    assertEquals(await pixelsOf(kohya), first);
    assertEquals(reads, []);
    const second = await pixelsOf(lokr);
    const both = [...kohya!, ...lokr!].flatMap(({ file }) => [...file.changes.unet.keys()]);
    assertEquals(new Set(reads), new Set(both));
    assertEquals(await pixelsOf(kohya), first);
    assertEquals(await pixelsOf([{ ...kohya![0]!, weight: 0 }]), plain);
    assertEquals(await pixelsOf(), plain);
    await using alone = await Pipeline.load(gpu, model, { backends });
    assertEquals((await draw(alone, { ...request, loras: lokr! })).pixels, second);
  });
}

Deno.test("a LoRA's changes of biases and normalisations are drawn, and taken back", async () => {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  const [file] = lorasOf(model, "kohya.safetensors:1");
  const request: Request = { ...requestOf(CASES.kohya!), steps: 2, width: 64, height: 64 };
  await using pipeline = await Pipeline.load(gpu, model);
  const plain = (await draw(pipeline, request)).pixels;
  const names = ["conv_in.bias", "down_blocks.0.resnets.0.norm1.bias", "down_blocks.0.resnets.0.conv1.bias"];
  for (const name of [...names, "down_blocks.0.resnets.0.time_emb_proj.bias", "conv_norm_out.weight"]) {
    // Not the same for all channels: normalisations would take that out again.
    // Not the same for all channels: normalisations would take that out again.
    const change = {
      apply: (values: Float32Array, weight: number) =>
        values.forEach((value, i) => values[i] = value + (i % 2 === 0 ? weight : -weight)),
    };
    const changes = { ...file!.file.changes, unet: new Map([[name, change]]), text_encoder: new Map() };
    const loras = [{ name, weight: 1, file: { ...file!.file, sha256: name, changes } }];
    const { pixels } = await draw(pipeline, { ...request, loras });
    assert(psnr(pixels, plain) < QUALITY, name);
    assertEquals((await draw(pipeline, request)).pixels, plain, name);
  }
});

Deno.test("a request's LoRAs are checked, and those of its prompt must be among them", async () => {
  using model = openTinyModel();
  const [kohya] = lorasOf(model, "kohya.safetensors:0.5");
  const request = { ...requestOf(CASES.kohya!), promptSyntax: "a1111" } as const;
  const tagged = { ...request, prompt: "<lora:fox:0.5>a red fox" };
  await assertRejects(() => complete(model, tagged), RequestError, 'the LoRA "fox", which is not among');
  const loras = [{ ...kohya!, name: "fox" }];
  const { prompts, notices } = await complete(model, { ...tagged, loras });
  assertEquals(prompts, (await complete(model, request)).prompts);
  assertEquals(notices, ['The LoRA "fox" of weight 0.5: 669 of its tensors are used']);
  const plain = await complete(model, { ...tagged, promptSyntax: "plain" });
  assert(JSON.stringify(plain.prompts) !== JSON.stringify(prompts));
  for (const weight of [NaN, 101]) {
    const wrong = { ...request, loras: [{ ...kohya!, weight }] };
    await assertRejects(() => complete(model, wrong), RequestError, "must be a number from -100 to 100");
  }
  const many = Array.from({ length: 65 }, () => kohya!);
  await assertRejects(() => complete(model, { ...request, loras: many }), RequestError, "at most 64");
  const negative = await complete(model, { ...request, negativePrompt: "<lora:fox:0.5>" });
  assertEquals(negative.notices, []);
});
