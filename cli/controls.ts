/**
 * What options say of ControlNets, and what records of a picture do.
 * @module
 */
import { LIMITS } from "../pipeline/limits.ts";
import type { Control, Request } from "../pipeline/request.ts";
import { showCount } from "./byte_count.ts";
import { UsageError } from "./errors.ts";
import type { ImageFiles } from "./init_image.ts";
import type { OptionValues } from "./options.ts";

/** Options of which the n-th value belongs to the n-th ControlNet. */
const OWN = ["control-image", "control-strength", "control-start", "control-end", "canny"] as const;

/**
 * Refuses ControlNets without pictures and what else belongs to none; each option is given once for all or once for each.
 *
 * @throws {UsageError} naming the option.
 */
export function checkControls(values: OptionValues): void {
  const count = values.controlnet.length;
  if (count > LIMITS.controls) {
    throw new UsageError(`--controlnet is given ${count} times; at most ${LIMITS.controls} run together`);
  }
  for (const name of OWN) {
    const given = values[name].length;
    if (given > 0 && count === 0) throw new UsageError(`--${name} requires --controlnet`);
    if (given > 1 && given !== count) {
      throw new UsageError(
        `--${name} is given ${given} times for ${
          showCount(count, "ControlNet")
        }: give it once for all, or once for each`,
      );
    }
  }
  if (count > 0 && values["control-image"].length === 0) {
    throw new UsageError("--controlnet requires --control-image, the picture that it sees");
  }
}

/**
 * What the ControlNets that options name see, and how much and when they take part.
 *
 * @throws {UsageError} as {@link checkControls}, or when a picture cannot be read.
 */
export function readControls(values: OptionValues, images: ImageFiles): readonly Control[] {
  checkControls(values);
  return values.controlnet.map((_, i) => {
    const nth = <T>(all: readonly T[]): T | undefined => all.length === 1 ? all[0] : all[i];
    const canny = nth(values.canny);
    return {
      image: images.read(nth(values["control-image"])!, { option: "control-image", background: 0 }),
      ...(canny && canny !== "none" && { canny }),
      strength: nth(values["control-strength"]) ?? 1,
      start: nth(values["control-start"]) ?? 0,
      end: nth(values["control-end"]) ?? 1,
    };
  });
}

/** A request's ControlNets as the options from which {@link readControls} makes them again. */
export function controlOptions(
  { controls = [] }: Pick<Request, "controls">,
): Readonly<Record<string, readonly string[]>> {
  const texts = (of: (control: Control) => unknown) => controls.map((control) => `${of(control)}`);
  return {
    "control-image": texts(({ image }) => image.file?.path),
    "control-strength": texts(({ strength }) => strength),
    "control-start": texts(({ start }) => start),
    "control-end": texts(({ end }) => end),
    canny: controls.some(({ canny }) => canny) ? texts(({ canny }) => canny ?? "none") : [],
  };
}
