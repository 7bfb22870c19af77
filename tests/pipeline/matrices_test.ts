import { assert } from "@std/assert";
import { bufferBackends, Gpu } from "../../kernels/mod.ts";
import { Pipeline, type Request } from "../../pipeline/mod.ts";
import { openTinyModel } from "../tiny_model.ts";
import { psnr, readStages, toPixels } from "./stages.ts";

/** What float16 weights and activations leave of diffusers' float32 picture, in decibels. */
const QUALITY = 30;

Deno.test("tiny-sd1's picture is diffusers' on matrices, where the adapter has them", async () => {
  await using gpu = await Gpu.open();
  if (gpu.matrices.length === 0) return;
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, model, { backends: bufferBackends(gpu), precision: "f16" });
  const request: Request = {
    prompt: "a lighthouse at dusk",
    negativePrompt: "blurry, ugly",
    seed: 7n,
    steps: 5,
    guidance: 9,
    scheduler: "ddim",
    height: 128,
    width: 128,
    rng: "cpu",
  };
  const { step, decode } = await pipeline.stages(request);
  for (const program of [step, decode]) {
    const texts = program.kernels.filter(({ wgsl }) => wgsl.includes("subgroup_matrix"));
    assert(texts.length > 10, `${texts.length} of ${program.kernels.length} launches are on matrices`);
  }
  const image = (await Array.fromAsync(pipeline.generate(request))).find((event) => event.type === "image")!.image;
  const quality = psnr(image.pixels, toPixels(readStages().get("txt2img-ddim-5-negative.image")!));
  assert(quality >= QUALITY, `${quality} dB`);
});
