/**
 * The LoRAs of a request: those that options name, and those that its prompt does.
 * @module
 */
import { resolve } from "@std/path";
import type { LoraFile, Model } from "../pipeline/mod.ts";
import { readLoraTags } from "../pipeline/prompt/lora_tags.ts";
import type { Lora, Request } from "../pipeline/request.ts";
import type { PipelineModule } from "./environment.ts";
import { type FileRecord, OpenedFiles } from "./added_files.ts";
import { UsageError } from "./errors.ts";
import { infoOf } from "./files.ts";
import type { OptionValues } from "./options.ts";

/** Opens LoRA files for one model. */
export class LoraFiles {
  readonly #module: Pick<PipelineModule, "findLora">;
  readonly #folder: string;
  readonly #files: OpenedFiles<LoraFile>;

  /** Paths begin in `folder`. */
  constructor(module: Pick<PipelineModule, "openLora" | "findLora">, model: Model, folder: string) {
    this.#module = module;
    this.#folder = folder;
    this.#files = new OpenedFiles((path) => module.openLora(path, model));
  }

  /**
   * The LoRAs of a picture, those of options first. A weight of 0 is as if nothing was said.
   *
   * @throws {UsageError} when its prompt names one, and no folder is given where that could be.
   * @throws {ModelNotFoundError | ModelFileError} when one is absent, damaged or another model's.
   */
  read(prompt: string, values: OptionValues): readonly Lora[] {
    const { lora, "lora-dir": directory, "prompt-syntax": syntax } = values;
    const given = lora.filter(({ weight }) => weight !== 0).map(({ file: name, weight }) => {
      const isPath = /[/\\]/.test(name) || infoOf(resolve(this.#folder, name)) !== undefined;
      const path = directory === undefined || isPath ? resolve(this.#folder, name) : this.#find(directory, name);
      return { name, weight, file: this.#files.open(path) };
    });
    const named = syntax === "a1111" ? tagsOf(prompt).filter(({ weight }) => weight !== 0) : [];
    return [
      ...given,
      ...named.map(({ name, weight }) => {
        if (directory !== undefined) {
          return { name, weight, file: this.#files.open(this.#find(directory, name)), inPrompt: true };
        }
        const hint = "--lora-dir says in which folder it is, and with --prompt-syntax plain it is text";
        throw new UsageError(`The prompt names the LoRA ${JSON.stringify(name)}: ${hint}`);
      }),
    ];
  }

  #find(directory: string, name: string): string {
    return this.#module.findLora(resolve(this.#folder, directory), name);
  }
}

function tagsOf(prompt: string): ReturnType<typeof readLoraTags> {
  try {
    return readLoraTags(prompt);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new UsageError(`The prompt: ${cause.message}`, { cause });
  }
}

/** A LoRA as records of a picture name it. */
export interface LoraRecord extends FileRecord {
  readonly weight: number;
}

/** The LoRAs of a request, for records; undefined when there are none. */
export function lorasOf({ loras = [] }: Pick<Request, "loras">): readonly LoraRecord[] | undefined {
  if (loras.length === 0) return undefined;
  return loras.map(({ name, weight, file: { sha256 } }) => ({ name, weight, sha256 }));
}
