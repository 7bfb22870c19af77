/**
 * Fits `latentToRgb` of denoise.json: pictures of the embedded model, averaged over each pixel of their latents, by
 * least squares on these latents and a constant. Prints the rows; `deno run -A weights/emoji/recipe/latent_to_rgb.ts`.
 * @module
 */
import { Gpu, openModel, Pipeline } from "../../../pipeline/mod.ts";

const PROMPTS = [
  "a red apple on a blue background",
  "a green tree",
  "a smiling face on a purple background",
  "a dog and a cat on a pink background",
  "a yellow car on a black background",
  "a rocket on an orange background",
  "a penguin on a teal background",
  "a bunch of grapes on a green background",
];
const SIDE = 256;

/** Sums of products of latents (and 1) with each other and with colours: the normal equations. */
const products = Array.from({ length: 5 }, () => new Array<number>(5).fill(0));
const targets = Array.from({ length: 5 }, () => new Array<number>(3).fill(0));

await using gpu = await Gpu.open();
using model = openModel("emoji");
await using pipeline = await Pipeline.load(gpu, model);
const { steps, guidance } = model.defaults;
for (const [index, prompt] of PROMPTS.entries()) {
  const size = { width: SIDE, height: SIDE };
  const request = { prompt, negativePrompt: "", seed: BigInt(index), steps, guidance, ...size, rng: "cpu" } as const;
  let latent = new Float32Array();
  for await (const event of pipeline.generate(request, { latents: steps })) {
    if (event.type === "step" && event.latent) latent = Float32Array.from(event.latent);
    if (event.type === "image") add(latent, event.image.pixels);
  }
}
const rows = solve().map((row) => row.map((value) => Number(value.toFixed(4))));
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(rows)}\n`));

function add(latent: Float32Array, pixels: Uint8Array): void {
  const count = latent.length / 4;
  const side = Math.sqrt(count);
  const factor = SIDE / side;
  for (let i = 0; i < count; i++) {
    const inputs = [0, 1, 2, 3].map((channel) => latent[channel * count + i]!).concat(1);
    const colour = [0, 0, 0];
    for (let j = 0; j < factor ** 2; j++) {
      const y = Math.floor(i / side) * factor + Math.floor(j / factor);
      const at = (y * SIDE + i % side * factor + j % factor) * 3;
      for (let k = 0; k < 3; k++) colour[k]! += (pixels[at + k]! / 127.5 - 1) / factor ** 2;
    }
    inputs.forEach((a, row) => {
      inputs.forEach((b, column) => products[row]![column]! += a * b);
      colour.forEach((c, column) => targets[row]![column]! += a * c);
    });
  }
}

/** Gauss-Jordan elimination of a positive definite matrix. */
function solve(): number[][] {
  const rows = products.map((row, i) => [...row, ...targets[i]!]);
  rows.forEach((pivot, i) => {
    const scale = pivot[i]!;
    pivot.forEach((_, j) => pivot[j]! /= scale);
    rows.forEach((row, k) => {
      const factor = row[i]!;
      if (k !== i) row.forEach((_, j) => row[j]! -= factor * pivot[j]!);
    });
  });
  return rows.map((row) => row.slice(5));
}
