/**
 * Stable Diffusion 2.x: OpenCLIP's text encoder, linear projections around its transformers, often velocities.
 * @module
 */
import type { Family } from "./family.ts";
import { stableDiffusion } from "./stable_diffusion.ts";

export const sd2: Family = stableDiffusion({
  name: "SD 2.x",
  matches: ({ unet }) => unet.use_linear_projection === true || unet.cross_attention_dim === 1024,
});
