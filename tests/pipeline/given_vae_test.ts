import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { chooseBackends, Gpu } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import { checkModel } from "../../pipeline/check_model.ts";
import { complete } from "../../pipeline/complete.ts";
import { fromImage, toImage } from "../../pipeline/image.ts";
import { ModelFileError, openModel, openPreviewVae, Pipeline, type Request } from "../../pipeline/mod.ts";
import { readVaeConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { decode, encode, readDecoder, readEncoder } from "../../pipeline/nets/vae.ts";
import { openTinyModel } from "../tiny_model.ts";
import { storeTensors, withFile } from "../weights/safetensors_bytes.ts";
import { authors, vaeFile } from "../weights/vae_file.ts";
import { goldenInit } from "./golden_init.ts";
import { psnr } from "./stages.ts";

const REQUEST: Request = {
  prompt: "",
  negativePrompt: "",
  seed: 0n,
  steps: 2,
  guidance: 1,
  width: 128,
  height: 128,
  rng: "cpu",
};

const BLANK = { width: 1, height: 1, pixels: new Uint8Array(3) };

Deno.test("a VAE of other latents than the model's is refused with both numbers", () => {
  const wide = { dtype: "F16", shape: [64, 16, 3, 3], bytes: new Uint8Array(2 * 64 * 16 * 9) };
  const bytes = vaeFile("taesd", (name) => name === "decoder.layers.0.weight" ? undefined : name, {
    "decoder.layers.0.weight": wide,
  });
  withFile(bytes, (path) => {
    const words = "this VAE decodes latents of 16 channels, and the UNet of emoji makes latents of 4";
    const error = assertThrows(() => openModel("emoji", { vae: path }), ModelFileError, words);
    assertEquals(error.message, `${path}: ${words}`);
    using model = openModel("emoji");
    assertThrows(() => openPreviewVae(path, model), ModelFileError, words);
  });
});

Deno.test("every tensor of a given VAE is accounted for", () => {
  const half = { dtype: "F16", shape: [1], bytes: new Uint8Array(2) };
  const cases = [
    [vaeFile("taesd", undefined, { "decoder.odd": half }), "1 tensor is unknown: "],
    [vaeFile("tiny-sd1", undefined, { "odd": half }), "1 tensor is unknown: "],
    [
      vaeFile("taesd", (name) => name === "decoder.layers.3.conv.2.bias" ? undefined : name),
      "1 tensor is missing: decoder.layers.3.conv.2.bias [64]",
    ],
    [
      vaeFile("taesd", (name) => name === "encoder.layers.14.bias" ? "encoder.layers.14.bios" : name),
      "1 tensor is missing: encoder.layers.14.bias [4]; 1 tensor is unknown: ",
    ],
  ] as const;
  for (const [bytes, words] of cases) {
    withFile(bytes, (path) => {
      using model = openModel("emoji", { vae: path });
      const error = assertThrows(() => checkModel(model), ModelFileError, words);
      assertThrows(() => openPreviewVae(path, model), ModelFileError, words);
      assertEquals(error.file, path);
    });
  }
  withFile(storeTensors(new Map([["decoder.layers.0.conv.0.weight", half]])), (path) => {
    assertThrows(() => openModel("emoji", { vae: path }), ModelFileError, "num_encoder_blocks");
  });
});

Deno.test("the decoder alone draws, and cannot start from a picture", async () => {
  const path = Deno.makeTempFileSync({ suffix: ".safetensors" });
  using stack = new DisposableStack();
  stack.defer(() => Deno.removeSync(path));
  Deno.writeFileSync(path, vaeFile("taesd", authors("decoder")));
  using model = openModel("emoji", { vae: path });
  checkModel(model);
  const init = { image: BLANK, strength: 0.5 };
  const words = `${path}: has no encoder, so this model cannot start from a picture`;
  assertEquals((await assertRejects(() => complete(model, { ...REQUEST, init }), ModelFileError)).message, words);
  await using gpu = await Gpu.open();
  await using pipeline = await Pipeline.load(gpu, model);
  const last = (await Array.fromAsync(pipeline.generate(REQUEST))).at(-1)!;
  assert(last.type === "image");
  assertEquals([last.image.width, last.image.height], [128, 128]);
});

Deno.test("what a mask keeps is what a tiny autoencoder makes of it", async () => {
  const { image } = goldenInit({ kind: "img2img", width: 128, height: 128 })!;
  const mask = { width: 128, height: 128, pixels: new Uint8Array(3 * 128 * 128) };
  using model = openTinyModel("taesd");
  await using gpu = await Gpu.open();
  const backend = (await chooseBackends(gpu)).exact;

  const ops = new Ops(gpu, backend);
  const config = readVaeConfig(model.config.vae);
  const parameters = new Parameters(ops, model.parts.vae);
  const [decoder, encoder] = [readDecoder(parameters, config), readEncoder(parameters, config)];
  await parameters.load();
  const picture = ops.keep({ batch: 1, channels: 3, height: 128, width: 128 }, "picture");
  ops.write(picture, fromImage(image));
  const program = ops.record(() => ops.copy(decode(ops, decoder, encode(ops, encoder, picture)), picture));
  program.run();
  const want = toImage(await ops.read(picture), { width: 128, height: 128, what: "The VAE's picture" });
  program.dispose();

  await using pipeline = await Pipeline.load(gpu, model, { backends: { exact: backend, half: backend } });
  const drawn = await Array.fromAsync(pipeline.generate({ ...REQUEST, init: { image, mask, strength: 1 } }));
  const last = drawn.at(-1)!;
  assert(last.type === "image");
  const quality = psnr(last.image.pixels, want.pixels);
  assert(quality >= 45, `the picture reaches ${quality} dB`);
});
