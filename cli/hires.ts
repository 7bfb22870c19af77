/**
 * The second, larger pass of a picture, and its upscaler.
 * @module
 */
import { resolve } from "@std/path";
import type { UpscalerFile } from "../pipeline/mod.ts";
import type { Hires, Request } from "../pipeline/request.ts";
import type { PipelineModule } from "./environment.ts";
import { UsageError } from "./errors.ts";
import type { OptionValues } from "./options.ts";

/** How much is made anew when no option says it, as in AUTOMATIC1111's web UI. */
const STRENGTH = 0.7;

/** What is known of this many files is kept. */
const KEPT = 64;

/** Reads what upscalers are in files, once each while the run lasts. */
export class UpscalerFiles {
  readonly #module: Pick<PipelineModule, "openUpscaler">;
  readonly #folder: string;
  readonly #files = new Map<string, UpscalerFile>();

  /** Paths begin in `folder`. */
  constructor(module: Pick<PipelineModule, "openUpscaler">, folder: string) {
    this.#module = module;
    this.#folder = folder;
  }

  /** @throws {ModelNotFoundError | ModelFileError} when it is absent, damaged or no upscaler. */
  read(name: string): UpscalerFile {
    const file = this.#files.get(name) ?? this.#module.openUpscaler(resolve(this.#folder, name));
    this.#files.delete(name);
    this.#files.set(name, file);
    if (this.#files.size > KEPT) this.#files.delete(this.#files.keys().next().value!);
    return file;
  }
}

/** Whether `--hires-upscaler` names a way that needs no file. */
export function isBuiltIn(upscaler: string): upscaler is "latent" | "lanczos" {
  return upscaler === "latent" || upscaler === "lanczos";
}

/** What a request calls its upscaler. */
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
    upscaler: isBuiltIn(name) ? name : { name, file: files.read(name) },
  };
}

/** The second pass of a request, for reports. */
export function describeHires(hires: Hires, { width, height }: Pick<Request, "width" | "height">): object {
  const { scale, strength, steps, upscaler } = hires;
  const sha256 = typeof upscaler === "string" ? {} : { sha256: upscaler.file.sha256 };
  return { scale, strength, steps, upscaler: nameOf(hires), ...sha256, width, height };
}
