/**
 * The families.
 * @module
 */
import type { ModelConfig } from "../../weights/mod.ts";
import type { Family } from "./family.ts";
import { inpainting } from "./inpainting.ts";
import { lcm } from "./lcm.ts";
import { sd1 } from "./sd1.ts";
import { sd2 } from "./sd2.ts";
import { sdxl } from "./sdxl.ts";
import { sdxlFewSteps, sdxlOneStep, sdxlTurbo } from "./sdxl_turbo.ts";
import { turbo } from "./turbo.ts";

/** Every family. A model is of the first one that matches; the last matches all. */
export const families: readonly Family[] = [
  sdxlTurbo,
  sdxlFewSteps,
  sdxlOneStep,
  sdxl,
  lcm,
  inpainting,
  turbo,
  sd2,
  sd1,
];

/** The family of a model. */
export function familyOf(config: ModelConfig): Family {
  return families.find((family) => family.matches(config))!;
}
