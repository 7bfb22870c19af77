import { assert, assertEquals } from "@std/assert";
import { Gpu, Pipeline, type Reference, type Request } from "../../pipeline/mod.ts";
import { createNoiseSource } from "../../pipeline/random/mod.ts";
import { scheduleFor } from "../../pipeline/schedulers/mod.ts";
import { openTinyModel } from "../tiny_model.ts";
import { channelMajor, readStages } from "./stages.ts";

const REQUEST: Request = {
  prompt: "a red fox, oil painting",
  negativePrompt: "",
  seed: 3n,
  steps: 2,
  // One sample: a step is the prediction for the prompt.
  guidance: 1,
  width: 64,
  height: 64,
  scheduler: "ddim",
  rng: "cpu",
};

/** Every 7919th of the values, as {@link Reference} has them; 200 of each. */
function samplesOf(values: ArrayLike<number>): readonly number[] {
  return Array.from({ length: 200 }, (_, k) => values[k * 7919 % values.length]!);
}

/** The same values for each of two samples. */
function twice(values: ArrayLike<number>): readonly number[] {
  return [...Array.from(values), ...Array.from(values)];
}

/** What the first step of `REQUEST` makes of its noise, solved for the UNet's prediction. */
async function predictionOf(pipeline: Pipeline, noise: Float32Array) {
  using model = openTinyModel();
  const [step] = scheduleFor(model.config.scheduler, { steps: REQUEST.steps, name: REQUEST.scheduler! }).steps;
  const [ofSample, ofPrediction] = step!.transition[0] as [number, number];
  for await (const event of pipeline.generate(REQUEST, { latents: true })) {
    if (event.type !== "step") break;
    const prediction = event.latent!.map((value, i) => (value - ofSample * noise[i]!) / ofPrediction);
    return { timestep: step!.timestep, prediction };
  }
  throw new Error("There was no step");
}

Deno.test("stages that agree with a reference are close to it, and others are not", async () => {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, model);
  const noise = createNoiseSource("cpu", REQUEST.seed).normal(4 * 8 * 8);
  const { timestep, prediction } = await predictionOf(pipeline, noise);
  const cases = JSON.parse(Deno.readTextFileSync(new URL("../../fixtures/tiny-sd1/cases.json", import.meta.url)));
  const { input_ids } = cases["txt2img-pndm-20"];
  const context = channelMajor(readStages().get("text.last_hidden_state")!);
  const reference: Reference = {
    prompts: [input_ids, input_ids],
    seed: Number(REQUEST.seed),
    width: REQUEST.width,
    height: REQUEST.height,
    latentFactor: 0.2,
    context: samplesOf(twice(context)),
    predictions: [{ timestep, values: samplesOf(twice(prediction)) }],
    picture: samplesOf(new Float32Array(3 * 64 * 64).fill(100)),
  };
  const deviations = await pipeline.compare(reference);
  assertEquals(deviations.map(({ name }) => name), ["text encoder", `UNet at timestep ${timestep}`, "VAE decoder"]);
  assertEquals(deviations.map(({ error, allowed }) => error <= allowed), [true, true, false]);
  // Pictures are about -1 to 1, far from 100.
  assert(Math.abs(deviations[2]!.error - 1) < 0.1, `${deviations[2]!.error}`);
  // All memory was given back, but for the weights that were transformed once.
  const bytes = gpu.bytes;
  assertEquals(await pipeline.compare(reference), deviations);
  assertEquals(gpu.bytes, bytes);
});
