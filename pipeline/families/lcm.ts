/**
 * Latent consistency models (arXiv 2310.04378): the guidance scale goes into the UNet with the timestep, so that one
 * evaluation a step is enough.
 * @module
 */
import type { Family } from "./family.ts";
import { stableDiffusion } from "./stable_diffusion.ts";

export const lcm: Family = stableDiffusion({
  name: "LCM",
  defaults: { steps: 4, guidance: 8.5, longPrompt: "chunk" },
  matches: ({ unet }) => unet.time_cond_proj_dim != null,
  prompts: ({ prompt }) => [prompt],
});
