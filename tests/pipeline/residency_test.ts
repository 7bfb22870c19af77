/**
 * Parts of a model that come and go: less memory, and the same pictures.
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  complete,
  Gpu,
  GpuMemoryError,
  type Model,
  openLora,
  openUpscaler,
  Pipeline,
  type Request,
  type StageName,
} from "../../pipeline/mod.ts";
import { openControlNet } from "../../pipeline/controlnets.ts";
import { byPart, type PartName, partsOf, type TensorSource } from "../../weights/mod.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { controlFile } from "../weights/controlnet_file.ts";
import { upscalerFile } from "../weights/upscaler_file.ts";

/** They take no memory for weights on their way. */
const TEXTURES = { exact: BACKENDS[0]!, half: BACKENDS[0]! };

const REQUEST: Request = {
  prompt: "a fox",
  negativePrompt: "",
  seed: 3n,
  steps: 1,
  guidance: 5,
  width: 64,
  height: 64,
  rng: "cpu",
};

async function draw(pipeline: Pipeline, request: Request) {
  for await (const event of pipeline.generate(request)) if (event.type === "image") return event.image.pixels;
  throw new Error("No picture");
}

/** The pictures of requests, one after the other, the most memory that they took, and what their stages take. */
async function drawAll(model: Model, requests: readonly Request[], memory?: number) {
  await using gpu = await Gpu.open();
  await using pipeline = await Pipeline.load(gpu, model, { memory, backends: TEXTURES, first: requests[0]! });
  const pictures: Uint8Array[] = [];
  for (const request of requests) pictures.push(await draw(pipeline, request));
  return { pictures, peak: gpu.peakBytes, needs: pipeline.needs };
}

/** The model, and the parts of which layers' weights were read, ControlNets among them, in their order and as often. */
function watched(opened: Model): { readonly model: Model; readonly read: string[] } {
  const read: string[] = [];
  const seen = new Set<string>();
  const watch = (part: string, source: TensorSource): TensorSource => {
    const note = (name: string) => {
      const { shape } = source.tensors.get(name)!;
      if (shape.length < 2 || name.includes("embeddings.")) return;
      if (read.at(-1) === part && !seen.has(name)) return void seen.add(name);
      seen.clear();
      seen.add(name);
      read.push(part);
    };
    return {
      ...source,
      read: (name, options) => (note(name), source.read(name, options)),
      readAsync: (name, options) => (note(name), source.readAsync(name, options)),
    };
  };
  const parts = byPart((part: PartName) => watch(part, opened.parts[part]!), partsOf(opened.parts));
  const controlNets = opened.controlNets.map((net) => ({ ...net, source: watch("controlnet", net.source) }));
  return { model: { ...opened, parts, controlNets }, read };
}

Deno.test("where parts do not fit at once they come and go: the same pictures in the memory of the largest stage", async () => {
  using opened = openTinyModel("tiny-sdxl");
  const { model, read } = watched(opened);
  const cat = await complete(model, { ...REQUEST, prompt: "a cat", negativePrompt: "blurry" });
  const batch = [REQUEST, cat, { ...cat, seed: 4n }];
  const together = await drawAll(model, batch);
  const texts = ["text_encoder", "text_encoder_2"];
  assertEquals(read.splice(0), [...texts, "unet", "vae"]);
  const most = Math.max(...Object.values(together.needs));
  assert(most < together.peak, `${most} of ${together.peak} bytes`);
  const apart = await drawAll(model, batch, most);
  assertEquals(apart.pictures, together.pictures);
  assertEquals(apart.needs, together.needs);
  assert(apart.peak <= most, `${apart.peak} bytes, and ${most} were to suffice`);
  // The prompts of the last are those before, which need no text encoder again.
  assertEquals(read, [...texts, "unet", "vae", ...texts, "unet", "unet"]);
});

Deno.test("what stages take is known without weights", async () => {
  using opened = openTinyModel("tiny-sdxl");
  const { model, read } = watched(opened);
  await using gpu = await Gpu.open();
  const planned = await Pipeline.needs(gpu, model, { backends: TEXTURES });
  assertEquals([read, gpu.bytes], [[], 0]);
  const { width, height, guidance, steps } = model.defaults;
  const first = { ...REQUEST, width, height, guidance, steps };
  await using pipeline = await Pipeline.load(gpu, model, { backends: TEXTURES, first });
  assertEquals(Object.keys(pipeline.needs), Object.keys(planned));
  for (const [stage, bytes] of Object.entries(pipeline.needs)) {
    // With weights there are a few biases, too, that timesteps take the place of.
    const more = bytes - planned[stage as StageName]!;
    assert(more >= 0 && more < 0.001 * bytes, `${stage} takes ${bytes}, ${more} more than was planned`);
  }
});

Deno.test("a stage that takes more than must suffice is refused before weights are read", async () => {
  using opened = openTinyModel("tiny-sdxl");
  const { model, read } = watched(opened);
  await using gpu = await Gpu.open();
  const options = { backends: TEXTURES, first: REQUEST };
  await assertRejects(
    () => Pipeline.load(gpu, model, { ...options, memory: 2 ** 20 }),
    GpuMemoryError,
    "to decode, and 0.000977 GiB of GPU memory may be used",
  );
  assertEquals(read, []);
});

Deno.test("LoRAs and init images are the same where parts come and go", async () => {
  using opened = openTinyModel();
  const { model, read } = watched(opened);
  const file = openLora(new URL("../../fixtures/lora/kohya.safetensors", import.meta.url).pathname, model);
  const loras = [{ name: "kohya", weight: 0.8, file }];
  const image = { width: 64, height: 64, pixels: Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => i * i % 251) };
  const cat = { ...REQUEST, prompt: "a cat" };
  const batch = [{ ...REQUEST, loras }, { ...cat, loras }, { ...cat, steps: 2, init: { image, strength: 0.5 } }];
  const together = await drawAll(model, batch);
  read.length = 0;
  // As much as the encoder takes.
  const apart = await drawAll(model, batch, 1.1 * Math.max(...Object.values(together.needs)));
  assertEquals(apart.pictures, together.pictures);
  assertEquals(read.filter((part) => part === "unet").length, batch.length);
});

Deno.test("ControlNets come and go with the UNet: the same pictures, and what they take is known before they are read", async () => {
  const path = Deno.makeTempFileSync({ suffix: ".safetensors" });
  Deno.writeFileSync(path, controlFile({ sees: true }));
  using opened = openTinyModel();
  using net = openControlNet(path, opened);
  Deno.removeSync(path);
  const { model, read } = watched({ ...opened, controlNets: [net] });
  const image = { width: 64, height: 64, pixels: Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => i * i % 251) };
  const cat = { ...REQUEST, prompt: "a cat" };
  const controls = [{ image, strength: 0.5 }];
  const batch = [{ ...REQUEST, controls }, cat, { ...cat, controls }];
  const together = await drawAll(model, batch);
  const parts = ["text_encoder", "unet", "controlnet", "vae"];
  assertEquals(read.splice(0), parts);
  const most = Math.max(...Object.values(together.needs));
  assert(most < together.peak, `${most} of ${together.peak} bytes`);
  const apart = await drawAll(model, batch, most);
  assertEquals(apart.pictures, together.pictures);
  assert(apart.peak <= most, `${apart.peak} bytes, and ${most} were to suffice`);
  assertEquals(read.splice(0), [...parts, "unet", "unet", "controlnet"]);

  await using gpu = await Gpu.open();
  const less = { backends: TEXTURES, memory: most - 1 };
  await assertRejects(
    () => Pipeline.load(gpu, model, { ...less, first: batch[0]! }),
    GpuMemoryError,
    "to denoise",
  );
  assertEquals(read, []);
  await using pipeline = await Pipeline.load(gpu, model, { ...less, first: cat });
  const weights = [...net.source.tensors.values()].filter(({ shape }) => shape.length > 1);
  const taken = weights.reduce((sum, { bytes }) => sum + bytes, 0);
  const more = together.needs.denoise! - pipeline.needs.denoise!;
  assert(more > taken, `${more} bytes more for a ControlNet of ${taken}`);
});

Deno.test("second passes and upscalers are the same where parts come and go", async () => {
  const path = Deno.makeTempFileSync({ suffix: ".safetensors" });
  Deno.writeFileSync(path, upscalerFile("x4"));
  using opened = openTinyModel();
  const upscaler = { name: "x4", file: openUpscaler(path) };
  const hires = { scale: 1.25, strength: 1, steps: 1, upscaler: "lanczos" } as const;
  const request = { ...REQUEST, hires, upscaler };
  const together = await drawAll(opened, [request]);
  // As much as the VAE's encoder takes.
  const most = 1.2 * Math.max(...Object.values(together.needs));
  const apart = await drawAll(opened, [request], most);
  Deno.removeSync(path);
  assertEquals(apart.pictures, together.pictures);
  assert(most < together.peak, `${most} of ${together.peak} bytes`);
  assert(apart.peak <= most, `${apart.peak} bytes, and ${most} were to suffice`);
});
