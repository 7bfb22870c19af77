import { assert, assertEquals, assertRejects } from "@std/assert";
import { Gpu } from "../../kernels/mod.ts";
import { complete, openUpscaler, Pipeline, type Request, RequestError, Upscaler } from "../../pipeline/mod.ts";
import { resizeLatent } from "../../pipeline/resize.ts";
import type { GenerateEvent, Hires } from "../../pipeline/request.ts";
import { readGolden } from "../golden.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { upscalerFile } from "../weights/upscaler_file.ts";
import { ALLOWED, assertStage, psnr } from "./stages.ts";

/** Decibels that a run in float32 must reach. */
const QUALITY = 45;

interface Case {
  readonly prompt: string;
  readonly seed: number;
  readonly guidance: number;
  readonly strength: number;
  readonly scheduler: string;
  readonly width: number;
  readonly height: number;
  readonly scale: number;
  readonly steps: number;
  readonly hires_steps: number;
}

const FOLDER = new URL("../../fixtures/hires/", import.meta.url);
const CASES: Readonly<Record<"latent" | "lanczos", Case>> = JSON.parse(
  Deno.readTextFileSync(new URL("cases.json", FOLDER)),
);
const GOLDEN = readGolden("fixtures/hires/cases.safetensors");

function requestOf(name: "latent" | "lanczos", upscaler: Hires["upscaler"] = name): Request & { hires: Hires } {
  const { prompt, seed, guidance, strength, scheduler, width, height, scale, steps, hires_steps } = CASES[name];
  const hires = { scale, strength, steps: hires_steps, upscaler };
  const size = { width, height };
  return { prompt, seed: BigInt(seed), guidance, scheduler, ...size, steps, hires, negativePrompt: "", rng: "cpu" };
}

async function draw(pipeline: Pipeline, request: Request) {
  const latents: Float32Array[] = [];
  const steps: string[] = [];
  let drawn: Extract<GenerateEvent, { type: "image" }> | undefined;
  for await (const event of pipeline.generate(request, { latents: true })) {
    if (event.type === "step") {
      latents.push(event.latent!);
      steps.push(`${event.step} of ${event.steps}`);
    } else if (event.type === "image") drawn = event;
  }
  return { ...drawn!, latents, steps };
}

for (const backend of BACKENDS) {
  for (const name of backend.name === "texture" ? ["latent", "lanczos"] as const : ["latent"] as const) {
    Deno.test(`a second pass over the ${name}: diffusers' picture, ${backend.name} kernels`, async () => {
      await using gpu = await Gpu.open();
      using model = openTinyModel();
      const backends = { exact: backend, half: backend };
      await using pipeline = await Pipeline.load(gpu, model, { backends, precision: "f32" });
      const request = requestOf(name);
      const { image, latents, steps, timings } = await draw(pipeline, request);
      const { steps: first, hires_steps: second, strength } = CASES[name];
      const all = first + Math.floor(second * strength);
      assertEquals(steps, Array.from({ length: all }, (_, i) => `${i + 1} of ${all}`));
      assertEquals(Object.keys(timings), ["text", "encode", "denoise", "decode"]);
      if (name === "latent") {
        assertStage("the first pass", latents[first - 1]!, GOLDEN.get("latent.first")!.data, ALLOWED.unet);
        const [small, large] = [{ width: 8, height: 8 }, { width: 12, height: 12 }];
        const enlarged = resizeLatent(GOLDEN.get("latent.first")!.data, small, large);
        assertStage("its latent enlarged", enlarged, GOLDEN.get("latent.enlarged")!.data, 1e-6);
      }
      const { shape, data } = GOLDEN.get(`${name}.image`)!;
      assertEquals([image.height, image.width, 3], shape);
      const quality = psnr(image.pixels, Uint8Array.from(data));
      assert(quality >= QUALITY, `${name} reaches ${quality} dB`);
    });
  }
}

Deno.test("a second pass over a picture is image to image from it, an upscaler's too", async () => {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, model);
  const { hires, ...plain } = { ...requestOf("lanczos"), height: 64, steps: 2 };
  const strength = 0.5;
  const { image: first } = await draw(pipeline, plain);
  const again: Request = { ...plain, width: 96, height: 96, steps: 2, init: { image: first, strength } };
  const { image: wanted } = await draw(pipeline, again);
  const twice = { ...hires, scale: 1.5, strength, steps: 2 };
  assertEquals((await draw(pipeline, { ...plain, hires: twice })).image, wanted);
  await withUpscaler(async (path) => {
    const named = { name: "x4", file: openUpscaler(path) };
    const { image } = await draw(pipeline, { ...plain, hires: { ...twice, upscaler: named } });
    assertEquals([image.width, image.height], [96, 96]);
    assert(psnr(image.pixels, wanted.pixels) < QUALITY, "the upscaler changed nothing");
    // In the end it enlarges the picture that there is.
    using upscaler = await Upscaler.load(gpu, named.file);
    assertEquals((await draw(pipeline, { ...plain, upscaler: named })).image, await upscaler.enlarge(first));
    // The picture without a second pass is what it was.
    assertEquals((await draw(pipeline, plain)).image, first);
  });
});

async function withUpscaler(use: (path: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeFileSync(`${folder}/x4.safetensors`, upscalerFile("x4"));
    await use(`${folder}/x4.safetensors`);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("a second pass that cannot be run is refused in words", async () => {
  using model = openTinyModel();
  const request = requestOf("latent");
  const image = { width: 8, height: 8, pixels: new Uint8Array(192) };
  const cases: readonly (readonly [Partial<Hires>, Partial<Request>, string])[] = [
    [{ scale: 0.9 }, {}, "the scale must be a number from 1 to 8"],
    [{ scale: NaN }, {}, "the scale must be a number from 1 to 8"],
    [{ scale: 8 }, { width: 1024 }, "the picture would have 8192x512 pixels; a side has 4096 at most"],
    [{ strength: 0 }, {}, "strength 0 is not above 0 and up to 1"],
    [{ strength: 0.2 }, {}, "strength 0.2 runs no step of 4; use at least 0.25"],
    [{ steps: 1.5 }, {}, "its steps must be a whole number from 1 to 1000"],
    [{}, { init: { image, strength: 0.5 } }, "a picture that starts from another one is not drawn a second time"],
  ];
  for (const [hires, more, message] of cases) {
    const wrong = { ...request, ...more, hires: { ...request.hires, ...hires } };
    const error = await assertRejects(() => complete(model, wrong), RequestError, message);
    assertEquals(error.setting, "hires");
  }
  const { second } = await complete(model, {
    ...request,
    width: 72,
    height: 64,
    hires: { ...request.hires, scale: 1.3 },
  });
  assertEquals([second!.width, second!.height, second!.schedule.steps.length], [88, 80, 2]);
});
