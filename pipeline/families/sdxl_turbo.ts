/**
 * SDXL-Turbo (arXiv 2311.17042): Stable Diffusion XL distilled to 1 to 4 steps from the last timestep, unguided.
 * @module
 */
import type { Family } from "./family.ts";
import { sdxl } from "./sdxl.ts";
import { distilled } from "./turbo.ts";

export const sdxlTurbo: Family = distilled("SDXL-Turbo", sdxl);
