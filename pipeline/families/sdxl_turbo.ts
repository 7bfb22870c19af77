/**
 * Stable Diffusion XL distilled to few steps from the last timestep, unguided: SDXL-Turbo (arXiv 2311.17042), and
 * SDXL-Lightning (arXiv 2402.13929) and others as whole UNets.
 * @module
 */
import type { Family } from "./family.ts";
import { sdxl } from "./sdxl.ts";
import { distilled } from "./turbo.ts";

/** Of those that begin at the last timestep it alone was published with fresh noise in each step. */
export const sdxlTurbo: Family = withScheduler(distilled("SDXL-Turbo", sdxl), "EulerAncestralDiscreteScheduler");

/** How many steps it was distilled to, no file says: four is what most are, and what those of eight nearly are. */
export const sdxlFewSteps: Family = distilled("SDXL, few steps", sdxl, { steps: 4 });

/** It predicts the picture instead of noise, which only one step is right for. */
export const sdxlOneStep: Family = distilled("SDXL, one step", sdxl, { prediction: "sample" });

/** The family of those models whose scheduler is of this class. */
function withScheduler(family: Family, name: string): Family {
  const { matches } = family;
  return { ...family, matches: (config) => matches(config) && config.scheduler._class_name === name };
}
