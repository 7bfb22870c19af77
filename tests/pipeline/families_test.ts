import { assert, assertEquals } from "@std/assert";
import type { Backend } from "../../kernels/backend.ts";
import { Gpu } from "../../kernels/mod.ts";
import { Pipeline, type Request } from "../../pipeline/mod.ts";
import { describeFiles } from "../../pipeline/model.ts";
import { type Golden, readGolden } from "../golden.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyFiles, type TinyName } from "../weights/tiny_files.ts";
import { goldenInit } from "./golden_init.ts";
import { ALLOWED, assertStage, psnr, toPixels } from "./stages.ts";

/** Decibels that a run in float32 must reach. */
const QUALITY = 45;

/** A run that diffusers made. */
interface Run {
  readonly model: TinyName;
  readonly family: string;
  /** The files in the model's folder, and what the names of its tensors begin with. */
  readonly file: string;
  readonly prefix: string;
  readonly request: Omit<Request, "negativePrompt" | "width" | "height" | "rng"> & { readonly negativePrompt?: string };
  /** What its tokenizer fills up with, where that is not the end token: OpenCLIP's is "!". */
  readonly padding?: string;
  /** What the model's scheduler configuration says otherwise. */
  readonly scheduler?: Readonly<Record<string, unknown>>;
}

const inpainting = { width: 128, height: 128, kind: "inpaint", strength: 1 } as const;

/** How the scheduler of the SDXL that people download begins, and what diffusers drew `runs` with. */
const SPACED = { timestep_spacing: "leading" };

const XL_RUNS: readonly (Pick<Run, "prefix" | "request"> & Partial<Run>)[] = [
  {
    file: "cases",
    prefix: "",
    request: { prompt: "a surreal lighthouse", seed: 300n, steps: 6, guidance: 5 },
    scheduler: {},
  },
  {
    file: "cases",
    prefix: "sizes.",
    request: {
      prompt: "a fox in the snow",
      seed: 52n,
      steps: 4,
      guidance: 5,
      clipSkip: 2,
      originalWidth: 256,
      originalHeight: 192,
      cropLeft: 8,
      cropTop: 16,
    },
    scheduler: {},
  },
  {
    prefix: "negative.",
    request: { prompt: "a fox", negativePrompt: "blurry", seed: 31n, steps: 5, guidance: 6 },
  },
  {
    prefix: "long.",
    request: {
      prompt: Array(12).fill("a very long description of a garden with many flowers,").join(" "),
      seed: 8n,
      steps: 3,
      guidance: 5,
    },
  },
  {
    family: "SDXL-Turbo",
    prefix: "turbo.",
    request: { prompt: "a cat", seed: 33n, steps: 2, guidance: 0 },
    scheduler: { _class_name: "EulerAncestralDiscreteScheduler", timestep_spacing: "trailing" },
  },
  {
    prefix: "img2img.",
    request: {
      prompt: "a fox",
      seed: 35n,
      steps: 6,
      guidance: 5,
      init: goldenInit({ width: 128, height: 128, kind: "img2img", strength: 0.6 })!,
    },
  },
];

const RUNS: readonly Run[] = [
  {
    model: "tiny-sd2",
    family: "SD 2.x",
    file: "cases",
    prefix: "",
    request: { prompt: "a steampunk teapot", seed: 300n, steps: 8, guidance: 7.5 },
  },
  {
    model: "tiny-sd2",
    family: "SD 2.x",
    file: "zsnr",
    prefix: "zsnr.",
    request: { prompt: "a dark forest", seed: 41n, steps: 5, guidance: 7.5, guidanceRescale: 0.7 },
    padding: "!",
    scheduler: { rescale_betas_zero_snr: true, timestep_spacing: "trailing" },
  },
  {
    model: "tiny-sd2",
    family: "SD 2.x",
    file: "zsnr-euler",
    prefix: "",
    request: { prompt: "a dark forest", seed: 12n, steps: 4, guidance: 5, guidanceRescale: 0.5 },
    scheduler: {
      _class_name: "EulerDiscreteScheduler",
      rescale_betas_zero_snr: true,
      timestep_spacing: "trailing",
    },
  },
  {
    model: "tiny-sd2",
    family: "SD-Turbo",
    file: "turbo",
    prefix: "",
    request: { prompt: "a cat on a chair", seed: 77n, steps: 3, guidance: 0 },
    scheduler: {
      _class_name: "EulerDiscreteScheduler",
      prediction_type: "epsilon",
      timestep_spacing: "trailing",
    },
  },
  ...XL_RUNS.map((run) => ({ model: "tiny-sdxl", family: "SDXL", file: "runs", scheduler: SPACED, ...run }) as const),
  {
    model: "tiny-lcm",
    family: "LCM",
    file: "cases",
    prefix: "lcm-4.",
    request: { prompt: "a red fox", seed: 1n, steps: 4, guidance: 8.5, scheduler: "lcm" },
  },
  {
    model: "tiny-inpaint",
    family: "inpainting",
    file: "cases",
    prefix: "inpaint9.",
    request: {
      prompt: "a teapot",
      seed: 6n,
      steps: 5,
      guidance: 7.5,
      scheduler: "ddim",
      init: goldenInit(inpainting)!,
    },
  },
  {
    model: "taesd",
    family: "SD 1.x",
    file: "cases",
    prefix: "txt2img.",
    request: { prompt: "a boat", seed: 3n, steps: 4, guidance: 7.5, scheduler: "ddim" },
  },
];

async function testRun(gpu: Gpu, backend: Backend, run: Run): Promise<void> {
  const golden: ReadonlyMap<string, Golden> = readGolden(`fixtures/${run.model}/${run.file}.safetensors`);
  const files = openTinyFiles(run.model);
  const scheduler = { ...files.config.scheduler, ...run.scheduler };
  const specialTokens = { ...files.tokenizer.specialTokens, ...(run.padding && { pad_token: run.padding }) };
  using model = describeFiles({
    ...files,
    config: { ...files.config, scheduler },
    tokenizer: { ...files.tokenizer, specialTokens },
  });
  assertEquals(model.family.name, run.family);
  await using pipeline = await Pipeline.load(gpu, model, { backends: { exact: backend, half: backend } });
  const request: Request = { negativePrompt: "", ...run.request, width: 128, height: 128, rng: "cpu" };
  const latents: Float32Array[] = [];
  for await (const event of pipeline.generate(request, { latents: true })) {
    if (event.type === "step") latents.push(event.latent!);
    if (event.type !== "image") continue;
    for (const [name, latent] of [["latents.first", latents[0]], ["latents.last", latents.at(-1)]] as const) {
      const want = golden.get(run.prefix + name);
      if (want) assertStage(name, latent!, want.data, ALLOWED.unet);
    }
    const all = golden.get(`${run.prefix}latents`);
    if (all) assertStage("latents", latents.flatMap((latent) => [...latent]), all.data, ALLOWED.unet);
    const quality = psnr(event.image.pixels, toPixels(golden.get(`${run.prefix}image`)!));
    assert(quality >= QUALITY, `${run.model} reaches ${quality} dB`);
    return;
  }
  throw new Error("There was no picture");
}

for (const backend of BACKENDS) {
  for (const run of RUNS) {
    Deno.test(`${run.family}, ${run.model}/${run.prefix}${run.file}: diffusers' picture, ${backend.name} kernels`, async () => {
      await using gpu = await Gpu.open();
      await testRun(gpu, backend, run);
    });
  }
}
