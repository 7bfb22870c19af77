import { Gpu } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import type { Shape } from "../../kernels/backend.ts";
import type { Tensor } from "../../kernels/tensor.ts";
import { readVaeConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { decode, encode, readDecoder, readEncoder } from "../../pipeline/nets/vae.ts";
import { fromImage } from "../../pipeline/image.ts";
import { createNoiseSource } from "../../pipeline/random/mod.ts";
import { readGolden } from "../golden.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { goldenInit } from "./golden_init.ts";
import { assertStage, readStages, withOps } from "./stages.ts";

const golden = readStages();
const LATENT: Shape = { batch: 1, channels: 4, height: 16, width: 16 };
const IMAGE: Shape = { batch: 1, channels: 3, height: 128, width: 128 };
const MOMENTS: Shape = { ...LATENT, channels: 8 };

/** What `build` makes of `values`. */
async function run(ops: Ops, [from, to]: readonly [Shape, Shape], values: Float32Array, build: (x: Tensor) => Tensor) {
  const [x, y] = [ops.keep(from, "input"), ops.keep(to, "output")];
  ops.write(x, values);
  const program = ops.record(() => ops.copy(build(x), y));
  program.run();
  const result = await ops.read(y);
  program.dispose();
  return result;
}

Deno.test("the decoder and the encoder equal PyTorch", () =>
  withOps(async (ops) => {
    using model = openTinyModel();
    const parameters = new Parameters(ops, model.parts.vae);
    const config = readVaeConfig(model.config.vae);
    const [decoder, encoder] = [readDecoder(parameters, config), readEncoder(parameters, config)];
    await parameters.load();

    const latent = golden.get("vae.latent")!.data;
    const picture = await run(ops, [LATENT, IMAGE], latent, (z) => decode(ops, decoder, z));
    assertStage("decoded picture", picture, golden.get("vae.decoded")!.data);

    const image = golden.get("vae.image")!.data;
    const moments = await run(ops, [IMAGE, MOMENTS], image, (x) => encode(ops, encoder, x));
    assertStage("mean", moments.subarray(0, 1024), golden.get("vae.mean")!.data);
    assertStage("log variance", moments.subarray(1024), golden.get("vae.logvar")!.data);
  }));

/** `[height, width, 3]`, 0 to 1, as we have it: `[3, height, width]`, -1 to 1. */
function planar(values: Float32Array): Float32Array {
  const count = values.length / 3;
  return values.map((_, i) => 2 * values[i % count * 3 + Math.floor(i / count)]! - 1);
}

for (const backend of BACKENDS) {
  Deno.test(`a tiny autoencoder's halves equal diffusers', ${backend.name} kernels`, async () => {
    const golden = readGolden("fixtures/taesd/cases.safetensors");
    await using gpu = await Gpu.open();
    const ops = new Ops(gpu, backend);
    using model = openTinyModel("taesd");
    const parameters = new Parameters(ops, model.parts.vae);
    const config = readVaeConfig(model.config.vae);
    const [decoder, encoder] = [readDecoder(parameters, config), readEncoder(parameters, config)];
    await parameters.load();

    const latent = createNoiseSource("cpu", 9n).normal(1024);
    const picture = await run(ops, [LATENT, IMAGE], latent, (z) => decode(ops, decoder, z));
    assertStage("decoded picture", picture, planar(golden.get("decode.image")!.data));

    const { image } = goldenInit({ kind: "img2img", width: 128, height: 128 })!;
    const encoded = await run(ops, [IMAGE, LATENT], fromImage(image), (x) => encode(ops, encoder, x));
    assertStage("latent", encoded, golden.get("encode.latents")!.data);
    await gpu.finish();
  });
}
