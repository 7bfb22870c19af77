/**
 * A picture with all that led to it.
 * @module
 */
import type { Pipeline, Request } from "../../pipeline/mod.ts";

/** Draws a picture; a latent for each evaluation of the net. */
export async function draw(
  pipeline: Pipeline,
  request: Request,
): Promise<{ pixels: Uint8Array; latents: Float32Array[] }> {
  const latents: Float32Array[] = [];
  for await (const event of pipeline.generate(request, { latents: true })) {
    if (event.type === "step") latents.push(event.latent!);
    if (event.type === "image") return { pixels: event.image.pixels, latents };
  }
  throw new Error("There was no picture");
}
