/**
 * SD-Turbo (arXiv 2311.17042): Stable Diffusion 2.1 distilled to 1 to 4 steps from the last timestep, unguided.
 * @module
 */
import type { Family } from "./family.ts";
import { sd2 } from "./sd2.ts";

export const turbo: Family = distilled("SD-Turbo", sd2);

/** The family of models that were distilled from those of `family` in this way. */
export function distilled(name: string, family: Family, { steps = 1, prediction = "epsilon" } = {}): Family {
  return {
    ...family,
    name,
    defaults: { ...family.defaults, steps, guidance: 1 },
    // Its files say no more of it than that its sampler begins at the last timestep and what it predicts.
    matches: (config) => {
      const { timestep_spacing, prediction_type = "epsilon" } = config.scheduler;
      return family.matches(config) && timestep_spacing === "trailing" && prediction_type === prediction;
    },
  };
}
