/**
 * The second, larger pass of a picture, and upscalers: its own, and that of the picture in the end.
 * @module
 */
import { resolve } from "@std/path";
import type { CompleteRequest, UpscalerFile } from "../pipeline/mod.ts";
import type { Hires, Image, NamedUpscaler, Request } from "../pipeline/request.ts";
import { OpenedFiles } from "./added_files.ts";
import type { PipelineModule } from "./environment.ts";
import { UsageError } from "./errors.ts";
import type { OptionValues } from "./options.ts";

/** How much is made anew when no option says it, as in AUTOMATIC1111's web UI. */
const STRENGTH = 0.7;

/** Reads what upscalers are in files, once each while the run lasts. */
export class UpscalerFiles {
  readonly #folder: string;
  readonly #files: OpenedFiles<UpscalerFile>;

  /** Paths begin in `folder`. */
  constructor(module: Pick<PipelineModule, "openUpscaler">, folder: string) {
    this.#folder = folder;
    this.#files = new OpenedFiles((path) => module.openUpscaler(path));
  }

  /** @throws {ModelNotFoundError | ModelFileError} when it is absent, damaged or no upscaler. */
  read(name: string): NamedUpscaler {
    return { name, file: this.#files.open(resolve(this.#folder, name)) };
  }
}

/** Whether `--hires-upscaler` names a way that needs no file. */
export function isBuiltIn(upscaler: string): upscaler is "latent" | "lanczos" {
  return upscaler === "latent" || upscaler === "lanczos";
}

/** The upscalers of a request, and the options that name them. */
export function upscalersOf(
  { hires, upscaler }: Pick<Request, "hires" | "upscaler">,
): readonly (NamedUpscaler & { readonly option: "hires-upscaler" | "upscale-model" })[] {
  const second = typeof hires?.upscaler === "object" ? [{ ...hires.upscaler, option: "hires-upscaler" as const }] : [];
  return upscaler ? [...second, { ...upscaler, option: "upscale-model" }] : second;
}

/** The files that options name as upscalers. */
export function upscalerPaths(values: OptionValues): readonly (readonly [option: string, path: string])[] {
  return (["hires-upscaler", "upscale-model"] as const).flatMap((option) => {
    const path = values[option];
    return path === undefined || option === "hires-upscaler" && isBuiltIn(path) ? [] : [[`--${option}`, path] as const];
  });
}

/** The size of a request's picture: as it is drawn in the last pass, and in the end. */
export function sizesOf(
  { second, upscaler, ...first }: Pick<CompleteRequest, "width" | "height" | "second" | "upscaler">,
): { readonly drawn: Size; readonly final: Size } {
  const { width, height } = second ?? first;
  const scale = upscaler?.file.scale ?? 1;
  return { drawn: { width, height }, final: { width: scale * width, height: scale * height } };
}

type Size = Pick<Image, "width" | "height">;

/** What a request calls the upscaler of its second pass. */
export function nameOf({ upscaler }: Hires): string {
  return typeof upscaler === "string" ? upscaler : upscaler.name;
}

/**
 * The second pass that options ask for; `steps` are those of the first.
 *
 * @throws {UsageError} when an option has no `--hires` to belong to, or the picture starts from another.
 * @throws {ModelNotFoundError | ModelFileError} when its upscaler is absent, damaged or no upscaler.
 */
export function readHires(values: OptionValues, steps: number, files: UpscalerFiles): Hires | undefined {
  const { hires: scale, "hires-upscaler": name = "latent" } = values;
  if (scale === undefined) {
    for (const option of ["hires-strength", "hires-steps", "hires-upscaler"] as const) {
      if (values[option] !== undefined) throw new UsageError(`--${option} requires --hires`);
    }
    return undefined;
  }
  if (values["init-image"] !== undefined) {
    throw new UsageError("--hires draws over a picture of its own: it cannot be given with --init-image");
  }
  return {
    scale,
    strength: values["hires-strength"] ?? STRENGTH,
    steps: values["hires-steps"] ?? steps,
    upscaler: isBuiltIn(name) ? name : files.read(name),
  };
}

/** The second pass of a request, for reports. */
export function describeHires(hires: Hires, { width, height }: Size): object {
  const { scale, strength, steps, upscaler } = hires;
  const told = typeof upscaler === "string" ? upscaler : describeUpscaler(upscaler);
  return { scale, strength, steps, upscaler: told, width, height };
}

/** An upscaler, for reports. */
export function describeUpscaler({ name, file: { sha256, scale } }: NamedUpscaler): object {
  return { name, sha256, scale };
}
