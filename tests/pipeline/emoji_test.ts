import { assert, assertEquals } from "@std/assert";
import { Gpu, openModel, Pipeline } from "../../pipeline/mod.ts";
import { readGolden } from "../golden.ts";
import { assertStage, psnr, toPixels } from "./stages.ts";

interface Case {
  readonly prompt: string;
  readonly seed: number;
  readonly num_inference_steps: number;
  readonly guidance_scale: number;
  readonly scheduler: string;
  readonly width: number;
  readonly height: number;
}

const cases = Object.entries<Case>(
  JSON.parse(Deno.readTextFileSync(new URL("../../fixtures/emoji/cases.json", import.meta.url))),
);

/** Decibels that a run must reach: the weights are float16, as PyTorch's were, and all sums float32. */
const QUALITY = 40;

Deno.test("the embedded model draws what PyTorch draws", async (t) => {
  const golden = readGolden("fixtures/emoji/cases.safetensors");
  await using gpu = await Gpu.open();
  using model = openModel("emoji");
  await using pipeline = await Pipeline.load(gpu, model);
  assertEquals(cases.length, 4);
  for (const [name, c] of cases) {
    await t.step(`${name}: ${c.prompt}`, async () => {
      const request = {
        prompt: c.prompt,
        negativePrompt: "",
        seed: BigInt(c.seed),
        steps: c.num_inference_steps,
        guidance: c.guidance_scale,
        width: c.width,
        height: c.height,
        scheduler: c.scheduler,
        rng: "cpu",
      } as const;
      const latents: Float32Array[] = [];
      for await (const event of pipeline.generate(request, { latents: true })) {
        if (event.type === "step") latents.push(event.latent!);
        else if (event.type === "image") {
          const quality = psnr(event.image.pixels, toPixels(golden.get(`${name}.image`)!));
          assert(quality >= QUALITY, `${name} reaches ${quality} dB`);
        }
      }
      assertEquals(latents.length, c.num_inference_steps);
      const { data } = golden.get(`${name}.latents`)!;
      const half = data.length / 2;
      assertStage("first latent", latents[0]!, data.subarray(0, half), 1e-3);
      assertStage("last latent", latents.at(-1)!, data.subarray(half), 1e-2);
    });
  }
});
