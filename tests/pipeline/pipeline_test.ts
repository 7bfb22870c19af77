import { assert, assertEquals, assertRejects } from "@std/assert";
import { Gpu, GpuFailedError } from "../../kernels/mod.ts";
import {
  type GenerateEvent,
  type GenerateOptions,
  type Image,
  type Model,
  Pipeline,
  type PipelineOptions,
  type Request,
} from "../../pipeline/mod.ts";
import type { PartName, TensorSource } from "../../weights/mod.ts";
import { BACKENDS, HALF_BACKEND } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { goldenInit, type InitCase } from "./golden_init.ts";
import { ALLOWED, assertStage, psnr, readStages, toPixels } from "./stages.ts";

const golden = readStages();
const ROOT = new URL("../..", import.meta.url);

interface Case extends InitCase {
  readonly scheduler: string;
  readonly seed: number;
  readonly prompt: string;
  readonly negative_prompt?: string;
  readonly num_inference_steps: number;
  readonly guidance_scale: number;
}

const cases = Object.entries<Case>(
  JSON.parse(Deno.readTextFileSync(new URL("../../fixtures/tiny-sd1/cases.json", import.meta.url))),
).filter(([, { kind }]) => kind !== undefined);

/** Decibels that a run in float32 must reach. */
const QUALITY = 45;

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

/** Runs `test` with the tiny model, changed or as it is. */
async function withPipeline(
  test: (pipeline: Pipeline, gpu: Gpu) => Promise<void>,
  change: Partial<Model> = {},
  options: PipelineOptions = {},
): Promise<void> {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, { ...model, ...change }, options);
  await test(pipeline, gpu);
}

/** The picture of a request, with everything else that happened before. */
async function draw(pipeline: Pipeline, request: Request, latents = false) {
  const steps: (GenerateEvent & { readonly latent?: Float32Array })[] = [];
  for await (const event of pipeline.generate(request, { latents })) {
    if (event.type === "image") return { ...event, steps };
    steps.push(event);
  }
  throw new Error("There was no picture");
}

async function pixels(pipeline: Pipeline, change: Partial<Request> = {}): Promise<Uint8Array> {
  return (await draw(pipeline, { ...REQUEST, ...change })).image.pixels;
}

Deno.test("whole runs equal diffusers, latent by latent", (t) =>
  withPipeline(async (pipeline) => {
    assertEquals(cases.length, 7);
    for (const [name, c] of cases) {
      await t.step(name, async () => {
        const init = goldenInit(c);
        const request: Request = {
          prompt: c.prompt,
          negativePrompt: c.negative_prompt ?? "",
          seed: BigInt(c.seed),
          steps: c.num_inference_steps,
          guidance: c.guidance_scale,
          width: c.width,
          height: c.height,
          scheduler: c.scheduler,
          rng: "cpu",
          ...(init && { init }),
        };
        const { image, steps } = await draw(pipeline, request, true);
        const { shape, data } = golden.get(`${name}.latents`)!;
        assertEquals(steps.length, shape[0]);
        const length = data.length / shape[0]!;
        for (const [i, step] of steps.entries()) {
          const want = data.subarray(i * length, (i + 1) * length);
          assertStage(`${name}, latent behind step ${i + 1}`, step.latent!, want, ALLOWED.unet);
        }
        const quality = psnr(image.pixels, toPixels(golden.get(`${name}.image`)!));
        assert(quality >= QUALITY, `${name} reaches ${quality} dB`);
      });
    }
  }));

Deno.test("events count the steps and end with a picture", () =>
  withPipeline(async (pipeline, gpu) => {
    const { image, steps, timings, peakBytes } = await draw(pipeline, { ...REQUEST, scheduler: "heun" });
    // Heun evaluates the UNet twice a step, but for the last.
    assertEquals(steps.map((event) => event.type === "step" && [event.step, event.steps]), [[1, 3], [2, 3], [3, 3]]);
    assert(steps.every((event) => event.latent === undefined));
    assertEquals([image.width, image.height, image.pixels.length], [64, 64, 64 * 64 * 3]);
    assert(Object.values(timings).every((milliseconds) => milliseconds > 0), JSON.stringify(timings));
    assert(peakBytes >= gpu.bytes && gpu.bytes > 0);
  }));

Deno.test("one request is one picture, whatever was drawn between", () =>
  withPipeline(async (pipeline) => {
    const first = await pixels(pipeline, { scheduler: "euler-ancestral" });
    await pixels(pipeline, { width: 128, guidance: 1, seed: 9n });
    assertEquals(await pixels(pipeline, { scheduler: "euler-ancestral" }), first);
    assertEquals((await draw(pipeline, { ...REQUEST, scheduler: "euler-ancestral" }, true)).image.pixels, first);
  }));

Deno.test("a prompt of plain words that fits is one picture, however prompts are read", () =>
  withPipeline(async (pipeline) => {
    const first = await pixels(pipeline);
    for (const promptSyntax of ["a1111", "plain"] as const) {
      for (const longPrompt of ["chunk", "truncate"] as const) {
        // One with weights and more chunks in between: nothing of it may stay.
        await pixels(pipeline, { prompt: "(a BREAK b", promptSyntax: "a1111", longPrompt });
        assertEquals(await pixels(pipeline, { promptSyntax, longPrompt, clipSkip: 1 }), first);
      }
    }
  }));

Deno.test("every setting changes the picture", () =>
  withPipeline(async (pipeline) => {
    const changes: readonly Partial<Request>[] = [
      {},
      { prompt: "a blue fox" },
      { negativePrompt: "blurry" },
      { seed: 2n },
      { steps: 3 },
      { guidance: 6 },
      { guidance: 1 },
      { scheduler: "euler" },
      { rng: "cuda" },
      { clipSkip: 2 },
      { prompt: "a (red) fox" },
      { prompt: "a (red) fox", promptSyntax: "a1111" },
      { prompt: "a red BREAK fox", promptSyntax: "a1111", longPrompt: "chunk" },
    ];
    const seen = new Map<string, string>();
    for (const change of changes) {
      const hex = (await pixels(pipeline, change)).toHex();
      const name = Deno.inspect(change);
      assertEquals(seen.get(hex), undefined, `${name} draws what ${seen.get(hex)} draws`);
      seen.set(hex, name);
    }
  }));

Deno.test("weights of either precision draw the same picture, as far as float16 can", async () => {
  const drawn: Uint8Array[] = [];
  for (const precision of ["f16", "f32"] as const) {
    await withPipeline(async (pipeline) => void drawn.push(await pixels(pipeline)), {}, { precision });
  }
  const quality = psnr(drawn[0]!, drawn[1]!);
  assert(quality >= 35, `${quality} dB`);
});

Deno.test("a latent of odd size becomes a picture", () =>
  withPipeline(async (pipeline) => {
    const { image, steps } = await draw(pipeline, { ...REQUEST, width: 136, height: 120 }, true);
    const { latent } = steps.at(-1)!;
    assertEquals([latent!.length, image.pixels.length], [4 * 17 * 15, 136 * 120 * 3]);
    assert(latent!.every(Number.isFinite));
    assert(new Set(image.pixels).size > 16, "the picture has hardly a colour");
  }));

Deno.test("what cannot be drawn is refused before the GPU works", () =>
  withPipeline(async (pipeline, gpu) => {
    // The weights are on their way; nothing that is refused waits for them.
    await gpu.finish();
    const { bytes } = gpu;
    const refusals: readonly (readonly [Partial<Request>, string])[] = [
      [{ width: 60 }, "a picture of 60x64: width must be a multiple of 8"],
      [{ height: 65 }, "a picture of 64x65: height must be a multiple of 8"],
      [{ steps: 0 }, "must be a whole number from 1 to 1000"],
      [{ guidance: 1e300 }, "must be a number from 0 to 1000"],
      [{ scheduler: "magic" }, "Scheduler magic is not known"],
      [{ clipSkip: 0 }, "the text encoder has layers 1 to 3, not 0"],
      [{ clipSkip: 50 }, "the text encoder has layers 1 to 3, not 50"],
    ];
    for (const [change, message] of refusals) await assertRejects(() => pixels(pipeline, change), RangeError, message);
    assertEquals(gpu.bytes, bytes);
  }));

/** A change to the tiny model: all values of one tensor are replaced. */
function filled(model: Model, part: PartName, [name, value]: readonly [string, number]): Partial<Model> {
  const source = model.parts[part]!;
  const changed: TensorSource = {
    ...source,
    read(wanted, options) {
      const bytes = source.read(wanted, options);
      if (wanted !== name) return bytes;
      assertEquals(source.tensors.get(name)!.dtype, "F16");
      new Float16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2).fill(value);
      return bytes;
    },
  };
  return { parts: { ...model.parts, [part]: changed } };
}

for (const name of ["tiny-sd1", "tiny-sdxl"] as const) {
  Deno.test(`${name}: a VAE that leaves float16's range is decoded in float32 from then on, and that is said`, () =>
    assertFallback(name));
}

async function assertFallback(name: "tiny-sd1" | "tiny-sdxl"): Promise<void> {
  const [, exact] = BACKENDS;
  using model = openTinyModel(name);
  // What convolutions after it sum up is more than float16 holds, and nothing to float32.
  const notices = ({ steps }: { readonly steps: readonly GenerateEvent[] }) =>
    steps.filter(({ type }) => type === "notice").length;
  await withPipeline(
    async (pipeline, gpu) => {
      if (!gpu.device.features.has("shader-f16")) return;
      const first = await draw(pipeline, REQUEST);
      assertEquals(notices(first), 1);
      const second = await draw(pipeline, REQUEST);
      assertEquals(notices(second), 0);
      assertEquals(second.image.pixels, first.image.pixels);
    },
    { ...model, ...filled(model, "vae", ["post_quant_conv.bias", 6e4]) },
    { precision: "f16", backends: { exact: exact!, half: HALF_BACKEND } },
  );
}

Deno.test("numbers that are none become an error, never a picture", async (t) => {
  using model = openTinyModel();
  const latent = "The UNet's latent holds values that are not numbers";
  const picture = "The VAE's picture holds values that are not numbers";
  const moments = "The init image's latent holds values that are not numbers";
  const context = "The prompt's context holds values that are not numbers";
  const init = { image: noise(64, 64), strength: 1 };
  const mask = { ...init.image, pixels: init.image.pixels.map((_, i) => i < 6000 ? 255 : 0) };
  const weighted = { prompt: "a (red:1.2) fox", promptSyntax: "a1111" } as const;
  const failures: readonly (readonly [PartName, tensor: string, Partial<Request> & GenerateOptions, string])[] = [
    ["text_encoder", "final_layer_norm.bias", {}, latent],
    ["text_encoder", "final_layer_norm.bias", weighted, context],
    ["text_encoder", "encoder.layers.0.mlp.fc1.bias", { guidance: 1 }, latent],
    ["unet", "conv_out.bias", {}, latent],
    ["unet", "conv_out.bias", { previews: 1 }, "The preview holds values that are not numbers"],
    ["unet", "mid_block.attentions.0.proj_out.bias", { init: { ...init, mask } }, latent],
    ["vae", "decoder.conv_out.bias", {}, picture],
    ["vae", "post_quant_conv.bias", {}, picture],
    ["vae", "decoder.conv_out.bias", { vaeTiling: "on", width: 144 }, picture],
    ["vae", "encoder.conv_out.bias", { init }, moments],
    ["vae", "encoder.conv_out.bias", { init: { ...init, mask } }, moments],
    ["vae", "encoder.conv_out.bias", { init, vaeTiling: "on", width: 144 }, moments],
  ];
  for (const backend of [...BACKENDS, HALF_BACKEND]) {
    await using gpu = await Gpu.open();
    if (backend === HALF_BACKEND && !gpu.device.features.has("shader-f16")) continue;
    const values = [NaN, Infinity, -Infinity];
    for (const [i, [part, tensor, { previews = 0, ...change }, message]] of failures.entries()) {
      // With the slower kernels all of them take minutes; tiles are blended on the host in any case.
      if (backend !== BACKENDS[0] && change.vaeTiling) continue;
      for (const value of backend === BACKENDS[0] ? values : [values[i % 3]!]) {
        const told = [...Object.keys(change), ...(previews ? ["previews"] : [])].join(" and ") || "nothing else";
        await t.step(`${value} in ${tensor} with ${told}: ${backend.name}`, async () => {
          const broken = { ...model, ...filled(model, part, [tensor, value]) };
          await using pipeline = await Pipeline.load(gpu, broken, { backends: { exact: backend, half: backend } });
          const events = pipeline.generate({ ...REQUEST, steps: 1, ...change }, { previews });
          await assertRejects(() => Array.fromAsync(events), GpuFailedError, message);
        });
      }
    }
  }
});

Deno.test("fifty pictures take no more memory than the fifty before", async () => {
  // A process of its own, whose memory is nobody else's, and garbage is collected before it is measured: what else runs
  // on the machine, and when V8 finds time, changes nothing.
  const script = `
    import { Gpu, Pipeline } from "${new URL("../../pipeline/mod.ts", import.meta.url)}";
    import { openTinyModel } from "${new URL("../tiny_model.ts", import.meta.url)}";
    await using gpu = await Gpu.open();
    using model = openTinyModel();
    await using pipeline = await Pipeline.load(gpu, model);
    const request = ${JSON.stringify(REQUEST, (_, value) => typeof value === "bigint" ? undefined : value)};
    const samples = [];
    // Every fifth is without guidance, so that programs are recorded over and over.
    for (let i = 0; i < 100; i++) {
      const change = { seed: BigInt(i), steps: 1, guidance: i % 5 === 0 ? 1 : 5 };
      for await (const _ of pipeline.generate({ ...request, ...change }));
      if (i % 5 !== 4) continue;
      gc();
      await new Promise((resolve) => setTimeout(resolve));
      gc();
      samples.push({ gpu: gpu.bytes, peak: gpu.peakBytes, resident: Deno.memoryUsage().rss / 2 ** 20 });
    }
    console.log(JSON.stringify(samples));`;
  const args = ["eval", "--v8-flags=--expose-gc", script];
  const env = { XDG_RUNTIME_DIR: "/tmp", NO_COLOR: "1" };
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env }).output();
  const text = new TextDecoder();
  assert(stdout.length > 0, text.decode(stderr));
  const samples: { gpu: number; peak: number; resident: number }[] = JSON.parse(text.decode(stdout));
  // The first half fills the heap and the driver's pools, which may give something back, but never take more.
  const [before, after] = [samples.slice(2, 10), samples.slice(10)];
  for (const { gpu, peak } of after) assertEquals([gpu, peak], [before[0]!.gpu, before[0]!.peak]);
  const least = (half: typeof samples) => Math.min(...half.map(({ resident }) => resident));
  const growth = least(after) - least(before);
  assert(growth < 8, `${growth.toFixed(1)} MiB more than before`);
});

/** A picture of noise, for runs that start from one. */
function noise(width: number, height: number): Image {
  return { width, height, pixels: Uint8Array.from({ length: 3 * width * height }, (_, i) => i * i % 251) };
}

Deno.test("a run from a picture skips steps, says what the encoding took, and reads the encoder for it alone", () =>
  withPipeline(async (pipeline, gpu) => {
    const plain = await draw(pipeline, { ...REQUEST, steps: 4, scheduler: "ddim" });
    assertEquals(["encode" in plain.timings, plain.steps.length], [false, 4]);
    const { bytes } = gpu;
    const image = noise(100, 60);
    const half = { ...REQUEST, steps: 4, scheduler: "ddim", init: { image, strength: 0.5 } };
    const drawn = await draw(pipeline, half);
    assertEquals(drawn.steps.length, 2);
    assert(drawn.timings.encode! > 0);
    assert(gpu.bytes > bytes, "the encoder takes no memory");
    const held = gpu.bytes;
    // The same again, encoded or remembered.
    for (const again of [half, { ...half, init: { image: noise(100, 60), strength: 0.5 } }]) {
      assertEquals((await draw(pipeline, again)).image.pixels, drawn.image.pixels);
    }
    assertEquals(gpu.bytes, held);
    const other = { ...half, init: { image: noise(101, 60), strength: 0.5 } };
    assert((await draw(pipeline, other)).image.pixels.some((value, i) => value !== drawn.image.pixels[i]));
    await assertRejects(
      () => pixels(pipeline, { init: { image, strength: 0.1 } }),
      RangeError,
      "strength 0.1 runs no step of 2; use at least 0.5",
    );
  }));

Deno.test("what a black mask keeps is the picture's latent, whatever the scheduler does", () =>
  withPipeline(async (pipeline) => {
    const image = noise(64, 64);
    const black: Image = { ...image, pixels: new Uint8Array(image.pixels.length) };
    const kept = { ...REQUEST, guidance: 1, init: { image, mask: black, strength: 1 } };
    const first = (await draw(pipeline, { ...kept, scheduler: "euler" }, true)).steps.at(-1)!.latent!;
    for (const scheduler of ["euler-ancestral", "dpmpp-2m", "heun", "pndm"]) {
      assertEquals((await draw(pipeline, { ...kept, scheduler }, true)).steps.at(-1)!.latent!, first);
    }
    const white: Image = { ...image, pixels: black.pixels.map(() => 255) };
    const painted = { ...kept, scheduler: "euler", init: { ...kept.init, mask: white } };
    assert((await draw(pipeline, painted, true)).steps.at(-1)!.latent!.some((value, i) => value !== first[i]));
  }));

Deno.test("a picture made on tiles is the picture, as far as tiles can know", () =>
  withPipeline(async (pipeline, gpu) => {
    // The tiny model's tiles have 128 pixels.
    const large = { ...REQUEST, steps: 1, width: 144, init: { image: noise(144, 64), strength: 1 } };
    const whole = await pixels(pipeline, { ...large, vaeTiling: "off" });
    assertEquals(await pixels(pipeline, large), whole);
    const { bytes } = gpu;
    const tiled = await pixels(pipeline, { ...large, vaeTiling: "on" });
    const quality = psnr(tiled, whole);
    assert(quality >= 20 && quality < Infinity, `${quality} dB`);
    assert(gpu.bytes < bytes);
    assertEquals(await pixels(pipeline, large), whole);
    assertEquals(gpu.bytes, bytes);
  }));

Deno.test("a pipeline gives back what it recorded", () =>
  withPipeline(async (pipeline, gpu) => {
    // What the larger picture leaves behind are weights, transformed once for all.
    const left: number[] = [];
    for (const size of [128, 64]) {
      await pixels(pipeline, { width: size, steps: 1 });
      const used = gpu.bytes;
      await pipeline[Symbol.asyncDispose]();
      assert(gpu.bytes < used);
      left.push(gpu.bytes);
    }
    assertEquals(left[1], left[0]);
  }));
