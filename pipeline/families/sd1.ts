/**
 * Stable Diffusion 1.x, and what else has its parts: other sizes (the embedded model), fewer blocks (BK-SDM).
 * @module
 */
import type { Family } from "./family.ts";
import { stableDiffusion } from "./stable_diffusion.ts";

export const sd1: Family = stableDiffusion({ name: "SD 1.x", matches: () => true });
