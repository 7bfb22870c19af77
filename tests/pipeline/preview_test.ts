import { assert, assertEquals } from "@std/assert";
import { Gpu, type Image, openModel, openPreviewVae, Pipeline, type Request } from "../../pipeline/mod.ts";
import { drawLatent, estimateImage } from "../../pipeline/preview.ts";
import { runStep, scheduleFor, schedulerNames } from "../../pipeline/schedulers/mod.ts";
import { createNoiseSource } from "../../pipeline/random/mod.ts";
import { psnr } from "./stages.ts";

/** What Stable Diffusion 1.x was trained with. */
const training = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };

for (const prediction_type of ["epsilon", "v_prediction"]) {
  Deno.test(`the clean latent follows from the samples around any step of any scheduler: ${prediction_type}`, () => {
    const source = createNoiseSource("cpu", 1n);
    for (const name of schedulerNames()) {
      const { slots, steps } = scheduleFor({ ...training, prediction_type }, { steps: 8, name });
      for (const [index, step] of steps.entries()) {
        const before = Array.from({ length: slots }, () => source.normal(16));
        const [output, noise] = [source.normal(16), step.usesNoise ? source.normal(16) : undefined];
        const after = Float32Array.from(runStep(step, { state: before, output, ...(noise && { noise }) })[0]!);
        const inputs = [...before, output];
        const got = estimateImage(step, { before, after, noise });
        got.forEach((value, i) => {
          const want = inputs.reduce((sum, input, k) => sum + step.image[k]! * input[i]!, 0);
          const scale = inputs.reduce((sum, input, k) => sum + Math.abs(step.image[k]! * input[i]!), 1);
          assert(Math.abs(value - want) <= 1e-3 * scale, `${name} ${index}: ${value}, want ${want}`);
        });
      }
    }
  });
}

Deno.test("a first-order step tells the clean latent that its equation holds", () => {
  const { steps, noiseLevels } = scheduleFor(training, { steps: 5, name: "ddim" });
  const [clean, epsilon] = [0.7, -1.2];
  const { signal, noise } = noiseLevels[2]!;
  const sample = Float32Array.of(signal * clean + noise * epsilon);
  const after = runStep(steps[2]!, { state: [sample], output: [epsilon] })[0]!;
  const [got] = estimateImage(steps[2]!, { before: [sample], after: Float32Array.from(after) });
  assert(Math.abs(got! - clean) < 1e-5, `${got}`);
});

Deno.test("latents become colours row by row, with the constant last", () => {
  const rgb = [[1, 0, 0], [0, -1, 0], [-1, 0, 1]];
  const { width, height, pixels } = drawLatent(Float32Array.of(1, 2, 0, 0.5), { width: 1, height: 2, rgb });
  assertEquals([width, height, [...pixels]], [1, 2, [128, 128, 255, 255, 64, 255]]);
});

const REQUEST: Request = {
  prompt: "a red apple on a blue background",
  negativePrompt: "",
  seed: 7n,
  steps: 10,
  guidance: 1.5,
  width: 256,
  height: 256,
  rng: "cpu",
};

Deno.test("previews look like the picture, and leave it as it is", async (t) => {
  await using gpu = await Gpu.open();
  using model = openModel("emoji");
  await using pipeline = await Pipeline.load(gpu, model);
  for (const scheduler of ["dpmpp-2m", "euler-ancestral"]) {
    await t.step(scheduler, async () => {
      const request = { ...REQUEST, scheduler };
      const plain = await draw(pipeline, request);
      const watched = await draw(pipeline, request, 3);
      assertEquals(watched.image.pixels, plain.image.pixels);
      assertEquals(watched.previews.map(([step]) => step), [3, 6, 9, 10]);
      const likeness = watched.previews.map(([, preview]) => correlation(preview, watched.image));
      assert(likeness[1]! > 0.8 && likeness.at(-1)! > 0.95, `Previews correlate by ${likeness}`);
      const every = await draw(pipeline, request, 1);
      assertEquals(every.image.pixels, plain.image.pixels);
      assertEquals(every.previews.length, 10);
      assertEquals(every.previews[5]![1].pixels, watched.previews[1]![1].pixels);
    });
  }
});

Deno.test("previews that a VAE decodes become the picture, and leave it as it is", async () => {
  await using gpu = await Gpu.open();
  using model = openModel("emoji");
  using previewVae = openPreviewVae(new URL("../../weights/emoji", import.meta.url).pathname, model);
  const pipeline = await Pipeline.load(gpu, model, { previewVae });
  const held = gpu.bytes;
  // Of another size, then of this one.
  await draw(pipeline, { ...REQUEST, width: 128, steps: 2 }, 1);
  const plain = await draw(pipeline, REQUEST);
  const watched = await draw(pipeline, REQUEST, 5);
  assertEquals(watched.image.pixels, plain.image.pixels);
  assertEquals(watched.previews.map(([step, { width, height }]) => [step, width, height]), [
    [5, 256, 256],
    [10, 256, 256],
  ]);
  const likeness = watched.previews.map(([, { pixels }]) => psnr(pixels, plain.image.pixels));
  assert(likeness[0]! > 12 && likeness[1]! > 45, `Previews reach ${likeness} dB`);
  await pipeline[Symbol.asyncDispose]();
  assertEquals(gpu.bytes, held);
});

async function draw(pipeline: Pipeline, request: Request, previews = 0) {
  const found: [number, Image][] = [];
  for await (const event of pipeline.generate(request, { previews })) {
    if (event.type === "step" && event.preview) found.push([event.step, event.preview]);
    if (event.type === "image") return { image: event.image, previews: found };
  }
  throw new Error("No picture");
}

/** Pearson's correlation of a preview's values with the picture's, averaged over each of its pixels. */
function correlation(preview: Image, image: Image): number {
  const factor = image.width / preview.width;
  const means = new Float64Array(preview.pixels.length);
  image.pixels.forEach((value, i) => {
    const [x, y] = [Math.floor(i / 3) % image.width, Math.floor(i / 3 / image.width)];
    means[(Math.floor(y / factor) * preview.width + Math.floor(x / factor)) * 3 + i % 3]! += value / factor ** 2;
  });
  const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
  const [a, b] = [mean(preview.pixels), mean(means)];
  let [ab, aa, bb] = [0, 0, 0];
  preview.pixels.forEach((value, i) => {
    ab += (value - a) * (means[i]! - b);
    aa += (value - a) ** 2;
    bb += (means[i]! - b) ** 2;
  });
  return ab / Math.sqrt(aa * bb);
}
