/**
 * Devices with WebGPU's default limits, and without features that kernels can use: what any adapter has is enough.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type DeviceOptions, FEATURES } from "../../kernels/device.ts";
import { bufferBackends, Gpu, Ops } from "../../kernels/mod.ts";
import type { Layer } from "../../kernels/ops.ts";
import { openModel, Pipeline, type PipelineOptions, type Request } from "../../pipeline/mod.ts";
import { openRandomModel } from "../../pipeline/bench/random_models.ts";
import { recordLoop } from "../../pipeline/loop.ts";
import type { Model } from "../../pipeline/model.ts";
import { readVaeConfig } from "../../pipeline/nets/config.ts";
import { type LayerShape, Parameters } from "../../pipeline/nets/parameters.ts";
import { readDecoder } from "../../pipeline/nets/vae.ts";
import { recordDecoder } from "../../pipeline/vae_program.ts";
import { byPart } from "../../weights/mod.ts";
import { openTinyModel } from "../tiny_model.ts";
import { psnr, readStages, toPixels } from "./stages.ts";

/** No feature, and each alone missing. */
const FEATURE_SETS: readonly NonNullable<DeviceOptions["features"]>[] = [
  [],
  ...FEATURES.map((missing) => FEATURES.filter((name) => name !== missing)),
];

/** Runs `test` on a device of each kind with WebGPU's default limits, and says on which. */
async function onLeastDevices(
  t: Deno.TestContext,
  test: (gpu: Gpu) => Promise<void>,
  sets: typeof FEATURE_SETS = FEATURE_SETS,
): Promise<void> {
  for (const features of sets) {
    await t.step(features.length === 0 ? "without any feature" : `with ${features.join(" and ")} only`, async () => {
      await using gpu = await Gpu.open({ features, limits: {} });
      assertEquals(gpu.device.limits.maxStorageBufferBindingSize, 128 << 20);
      assertEquals(gpu.device.limits.maxComputeWorkgroupStorageSize, 16 << 10);
      await test(gpu);
    });
  }
}

async function draw(gpu: Gpu, model: Model, request: Request, options: PipelineOptions = {}): Promise<Uint8Array> {
  await using pipeline = await Pipeline.load(gpu, model, options);
  for await (const event of pipeline.generate(request)) if (event.type === "image") return event.image.pixels;
  throw new Error("There was no picture");
}

Deno.test("tiny-sd1's picture is diffusers' on any adapter", async (t) => {
  const want = toPixels(readStages().get("txt2img-ddim-5-negative.image")!);
  const request = {
    prompt: "a lighthouse at dusk",
    negativePrompt: "blurry, ugly",
    seed: 7n,
    steps: 5,
    guidance: 9,
    scheduler: "ddim",
    height: 128,
    width: 128,
    rng: "cpu",
  } as const;
  using model = openTinyModel();
  await onLeastDevices(t, async (gpu) => {
    const quality = psnr(await draw(gpu, model, request, { backends: bufferBackends(gpu) }), want);
    assert(quality >= 45, `${quality} dB`);
  });
});

Deno.test("the embedded model draws on any adapter what it draws here", async (t) => {
  const request = {
    prompt: "a red apple",
    negativePrompt: "",
    seed: 1n,
    steps: 2,
    guidance: 1.5,
    height: 64,
    width: 64,
    rng: "cpu",
  } as const;
  using model = openModel("emoji");
  await using here = await Gpu.open();
  const want = await draw(here, model, request, { precision: "f32" });
  await onLeastDevices(t, async (gpu) => {
    const got = await draw(gpu, model, request, { precision: "f32", backends: bufferBackends(gpu) });
    const quality = psnr(got, want);
    assert(quality >= 45, `${quality} dB`);
  }, [[]]);
});

/** Layers as a model has them, with no values: enough to record with, and nothing is read or uploaded. */
class Unloaded extends Parameters {
  readonly #ops: Ops;

  constructor(ops: Ops, model: Model) {
    super(ops, model.parts.unet);
    this.#ops = ops;
  }

  override values(_name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
    return new Float32Array(shape.reduce((a, b) => a * b, 1));
  }

  override table(): () => Float32Array {
    return () => new Float32Array();
  }

  override stackedOf(
    layers: readonly { readonly name: string; readonly out: number }[],
    shape: Omit<LayerShape, "out">,
  ): Layer {
    const { in: inputs, window = 1 } = shape;
    const out = layers.reduce((sum, layer) => sum + layer.out, 0);
    const keep = (channels: number, height: number) =>
      this.#ops.keep({ batch: 1, channels, height, width: 1 }, "weights");
    return {
      weights: keep(window * window * inputs, out),
      ...(shape.bias !== false && { bias: keep(out, 1) }),
      in: inputs,
      out,
      window,
    };
  }
}

Deno.test("what Stable Diffusion 1.4 passes through memory at 512x512 any adapter can bind", async (t) => {
  await onLeastDevices(t, async (gpu) => {
    using model = openRandomModel("sd14");
    const { exact } = bufferBackends(gpu);
    const ops = new Ops(gpu, exact);
    const net = model.family.read(byPart(() => new Unloaded(ops, model)), model.config);
    const shape = {
      channels: 4,
      height: 64,
      width: 64,
      samples: 2,
      evaluations: 20,
      tokens: 77,
      chunks: 1,
      clipSkip: 1,
    };
    const loop = await recordLoop(ops, net, { ...shape, slots: 5, masked: false, rescaled: false });
    const decoder = readDecoder(new Unloaded(ops, model), readVaeConfig(model.config.vae));
    const decoding = await recordDecoder(ops, decoder, loop.latent, "auto");
    assertEquals(decoding.tiles, 9);
    decoding.dispose();
    loop.dispose();
  });
});
