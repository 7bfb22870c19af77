import { assert, assertEquals } from "@std/assert";
import { Gpu, Pipeline, type Reference } from "../../pipeline/mod.ts";
import type { Golden } from "../golden.ts";
import { openTinyModel } from "../tiny_model.ts";
import { channelMajor, readStages } from "./stages.ts";

const golden = readStages();

/** Every 7919th of the values, as {@link Reference} has them; 200 of each. */
function samplesOf(values: ArrayLike<number>): readonly number[] {
  return Array.from({ length: 200 }, (_, k) => values[k * 7919 % values.length]!);
}

/** The same values for each of two samples. */
function twice(values: ArrayLike<number>): readonly number[] {
  return [...Array.from(values), ...Array.from(values)];
}

/**
 * What diffusers computed of the text encoder; of the UNet and the VAE, which the golden data has for other inputs,
 * pictures of 100, which no model gives.
 */
function referenceOf({ data }: Golden): Reference {
  const { input_ids } = JSON.parse(
    Deno.readTextFileSync(new URL("../../fixtures/tiny-sd1/cases.json", import.meta.url)),
  )["txt2img-pndm-20"];
  const far = samplesOf(new Float32Array(3 * 64 * 64).fill(100));
  return {
    prompts: [input_ids, input_ids],
    seed: 3,
    width: 64,
    height: 64,
    latentFactor: 0.2,
    context: samplesOf(twice(channelMajor({ shape: [1, 77, 32], data }))),
    predictions: [{ timestep: 500, values: far }],
    picture: far,
  };
}

Deno.test("a stage that equals diffusers is close, and others are as far as they are", async () => {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, model);
  const reference = referenceOf(golden.get("text.last_hidden_state")!);
  const deviations = await pipeline.compare(reference);
  assertEquals(deviations.map(({ name }) => name), ["text encoder", "UNet at timestep 500", "VAE decoder"]);
  assertEquals(deviations.map(({ error, allowed }) => error <= allowed), [true, false, false]);
  // Values of about 0 are off by all of 100.
  assertEquals(deviations.slice(1).map(({ error }) => Math.round(10 * error)), [10, 10]);
  // All memory was given back, but for the weights that were transformed once.
  const bytes = gpu.bytes;
  assertEquals(await pipeline.compare(reference), deviations);
  assertEquals(gpu.bytes, bytes);
});

Deno.test("an error in one sample of a stage shows as that error", async () => {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, model);
  const { shape, data } = golden.get("text.last_hidden_state")!;
  const reference = referenceOf({ shape, data });
  const norm = Math.hypot(...reference.context);
  const context = reference.context.map((value, k) => k === 7 ? value + norm / 100 : value);
  const { error, allowed } = (await pipeline.compare({ ...reference, context }))[0]!;
  assertEquals([error.toFixed(3), error <= allowed], ["0.010", false]);
});

Deno.test("SDXL's stages are compared with what the recipe's script computes from the same formula", async () => {
  await using gpu = await Gpu.open();
  using model = openTinyModel("tiny-sdxl");
  await using pipeline = await Pipeline.load(gpu, model, { precision: "f32" });
  const path = new URL("../../fixtures/tiny-sdxl/reference.json", import.meta.url);
  const reference: Reference = JSON.parse(Deno.readTextFileSync(path));
  const deviations = await pipeline.compare(reference);
  const names = ["text encoders", "UNet at timestep 981", "UNet at timestep 1", "VAE decoder"];
  assertEquals(deviations.map(({ name }) => name), names);
  for (const { name, error, allowed } of deviations) assert(error <= allowed, `${name} is off by ${error}`);
});
