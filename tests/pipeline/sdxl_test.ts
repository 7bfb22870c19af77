import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Gpu, type Tensor } from "../../kernels/mod.ts";
import { checkModel } from "../../pipeline/check_model.ts";
import { complete } from "../../pipeline/complete.ts";
import type { Inputs } from "../../pipeline/families/family.ts";
import { sdxl } from "../../pipeline/families/sdxl.ts";
import { describeFiles } from "../../pipeline/model.ts";
import { readVaeConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { Ops } from "../../kernels/ops.ts";
import { ShapeRecorder, type Shapes } from "../../pipeline/nets/shapes.ts";
import { readDecoder, readEncoder } from "../../pipeline/nets/vae.ts";
import { type Request, RequestError } from "../../pipeline/request.ts";
import { byPart, type JsonObject, ModelFileError, openFormula, type PartName, partsOf } from "../../weights/mod.ts";
import { configOfShapes, VERSION_XL } from "../../weights/shape_config.ts";
import { type Golden, readGolden } from "../golden.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { openTinyFiles, type TinyName } from "../weights/tiny_files.ts";
import { ALLOWED, assertStage, channelMajor, readStages, relativeError } from "./stages.ts";

const golden: ReadonlyMap<string, Golden> = readGolden("fixtures/tiny-sdxl/cases.safetensors");

const REQUEST: Request = {
  prompt: "a surreal lighthouse",
  negativePrompt: "",
  seed: 1n,
  steps: 2,
  guidance: 5,
  width: 128,
  height: 128,
  rng: "cpu",
  originalWidth: 256,
  originalHeight: 192,
  cropLeft: 8,
  cropTop: 16,
};

/** Weights and chunks; an unconditional prompt that is read. */
const VARIANTS: readonly (readonly [golden: string, Partial<Request>, index: JsonObject])[] = [
  ["chunks", {
    prompt: "a (red:1.3) fox BREAK in the snow",
    negativePrompt: "blurry",
    promptSyntax: "a1111",
    longPrompt: "chunk",
  }, {}],
  ["empty", {}, { force_zeros_for_empty_prompt: false }],
];

/** What the net predicts for two samples of PyTorch's at timestep 481, after `inputs` were prepared. */
async function predict(
  backend: (typeof BACKENDS)[number],
  changes: readonly Partial<Request>[],
  { index = {}, name = "tiny-sdxl" }: { readonly index?: JsonObject; readonly name?: TinyName } = {},
): Promise<readonly { readonly context: Float32Array; readonly predicted: Float32Array }[]> {
  await using gpu = await Gpu.open();
  const files = openTinyFiles(name);
  using model = describeFiles({ ...files, config: { ...files.config, index } });
  checkModel(model);
  const ops = new Ops(gpu, backend);
  const names = partsOf(model.parts);
  const parameters = byPart((part: PartName) => new Parameters(ops, model.parts[part]!), names);
  const net = model.family.read(parameters, model.config);
  for (const part of names) await parameters[part]?.load();
  const x = ops.keep({ batch: 2, channels: 4, height: 16, width: 16 }, "sample");
  ops.write(x, readStages().get("unet.sample")!.data);
  const results = [];
  const bytes = new Set<number>();
  for (const change of changes) {
    const request = { ...REQUEST, ...change };
    const { prompts } = await complete(model, request);
    const inputs: Inputs = { prompts, timesteps: [7, 481], request };
    const [tokens, chunks] = [prompts[0]![0]![0]!.ids.length, prompts[0]![0]!.length];
    const step = ops.buffer(1, "step", "u32");
    const run = { height: 16, width: 16, samples: 2, evaluations: 2, tokens, chunks, clipSkip: 1 };
    const conditions = await net.condition(ops, run, step);
    await conditions.prepare(inputs);
    ops.gpu.write(step, Uint32Array.of(1));
    const out: Tensor = ops.keep(x, "output");
    const program = ops.record(() => ops.copy(conditions.predict(x), out));
    program.run();
    results.push({ context: await ops.read(conditions.context), predicted: await ops.read(out) });
    program.dispose();
    conditions.dispose();
    for (const memory of [out.memory, step]) ops.gpu.free(memory);
    await gpu.finish();
    bytes.add(gpu.bytes);
  }
  assertEquals(bytes.size, 1, "conditions keep memory");
  await gpu.finish();
  return results;
}

for (const backend of BACKENDS) {
  Deno.test(`SDXL's text encoders and UNet equal PyTorch, ${backend.name} kernels`, async () => {
    const [plain, said, left] = await predict(backend, [{}, { negativePrompt: "blurry" }, { originalWidth: 128 }]);
    const hidden = channelMajor(golden.get("text.hidden")!);
    // The second sample's begins in the middle.
    const { context } = plain!;
    const begin = context.length / 2;
    assertStage("first text encoder", context.subarray(begin, begin + hidden.length), hidden);
    const want = golden.get("unet.out.t481")!.data;
    assertStage("UNet", plain!.predicted, want, ALLOWED.unet);
    for (const [name, change, index] of VARIANTS) {
      const [varied] = await predict(backend, [change], { index });
      assertStage(name, varied!.predicted, golden.get(`unet.${name}.out.t481`)!.data, ALLOWED.unet);
    }
    // The first sample alone has the negative prompt; both have the sizes.
    const half = want.length / 2;
    assertStage("second sample", said!.predicted.subarray(half), want.subarray(half), ALLOWED.unet);
    assert(relativeError(said!.predicted.subarray(0, half), want.subarray(0, half)) > 0.01);
    for (const from of [0, half]) {
      const error = relativeError(left!.predicted.subarray(from, from + half), want.subarray(from, from + half));
      assert(error > ALLOWED.unet, `sizes change a sample by ${error}`);
    }
  });
}

for (const backend of BACKENDS) {
  Deno.test(`tiny-ssd, depths that differ within a block and a plain middle: diffusers' prediction, ${backend.name} kernels`, async () => {
    const [result] = await predict(backend, [{}], { name: "tiny-ssd" });
    const want = readGolden("fixtures/tiny-ssd/cases.safetensors").get("unet.out.t481")!;
    assertStage("UNet", result!.predicted, want.data, ALLOWED.unet);
  });
}

Deno.test("parts of SDXL that do not fit together are refused", () => {
  const files = openTinyFiles("tiny-sdxl");
  const { text_encoder_2: second, ...parts } = files.config;
  const refusals: readonly (readonly [changes: JsonObject, words: string])[] = [
    [{ cross_attention_dim: 96 }, "reads a context of width 96, and the text encoders write 80"],
    [{ addition_time_embed_dim: 32 }, "adds 144 values to the timestep, but pooled text and sizes have 48 and 192"],
    [{ addition_time_embed_dim: null }, "addition_time_embed_dim is nothing, not a whole number above 0"],
    [{ time_cond_proj_dim: 32 }, "embeds guidance, which with Stable Diffusion XL is not supported"],
    [{ in_channels: 9 }, "maps 9 channels to 4, but the VAE's latents have 4"],
  ];
  for (const [changes, words] of refusals) {
    const config = { ...files.config, unet: { ...files.config.unet, ...changes } };
    assertThrows(() => checkModel(describeFiles({ ...files, config })), ModelFileError, words);
  }
  assertThrows(
    () => checkModel(describeFiles({ ...files, config: parts })),
    ModelFileError,
    "is that of Stable Diffusion XL, but there is no second text encoder",
  );
  const short = { ...files.config, text_encoder_2: { ...second, projection_dim: 32 } };
  assertThrows(() => checkModel(describeFiles({ ...files, config: short })), ModelFileError, "have 32 and 96");
});

Deno.test("SDXL's text encoders have a layer less to read, and tokenizers of one length", async () => {
  using model = openTinyModel("tiny-sdxl");
  await assertRejects(
    () => complete(model, { ...REQUEST, clipSkip: 3 }),
    RequestError,
    "the text encoders have layers 1 to 2 to read, not 3",
  );
  const { prompts, notices } = await complete(model, { ...REQUEST, prompt: "fox ".repeat(80) });
  assertEquals(notices.length, 1);
  assertEquals(prompts.map((samples) => samples[1]![0]!.ids.length), [77, 77]);
  assertEquals(prompts.map((samples) => samples[0]![0]!.ids.at(-1)), [49407, 0]);
  const { tokenizer_2: second } = model;
  const other = { ...model, tokenizer_2: { ...second!, config: { ...second!.config, model_max_length: 40 } } };
  await assertRejects(
    () => complete(other, { ...REQUEST, prompt: "fox ".repeat(60), longPrompt: "chunk" }),
    ModelFileError,
    "tokenizer_2: makes another number of chunks",
  );
});

Deno.test("at full size its parts have as many parameters as diffusers', and their shapes tell the configuration", () => {
  const names = partsOf(VERSION_XL);
  const recorders = byPart(() => new ShapeRecorder(), names);
  sdxl.read(recorders, VERSION_XL);
  readDecoder(recorders.vae, readVaeConfig(VERSION_XL.vae));
  readEncoder(recorders.vae, readVaeConfig(VERSION_XL.vae));
  const count = (shapes: Shapes) => [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b), 0);
  // Those of the classes of diffusers and transformers with the configurations of stable-diffusion-xl-base-1.0.
  const want = { text_encoder: 123060480, text_encoder_2: 694659840, unet: 2567463684, vae: 83653863 };
  assertEquals(Object.fromEntries(names.map((part) => [part, count(recorders[part]!.shapes)])), want);
  const parts = byPart((part: PartName) => openFormula(part, recorders[part]!.shapes), names);
  assertEquals(configOfShapes(parts), VERSION_XL);
});
