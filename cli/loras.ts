/**
 * The LoRAs of a request: those that options name, and those that its prompt does.
 * @module
 */
import { resolve } from "@std/path";
import type { LoraFile, Model } from "../pipeline/mod.ts";
import { readLoraTags } from "../pipeline/prompt/lora_tags.ts";
import type { Lora, Request } from "../pipeline/request.ts";
import type { PipelineModule } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { infoOf } from "./files.ts";
import type { OptionValues } from "./options.ts";

/** What is known of this many files is kept. */
const KEPT = 64;

/** Opens LoRA files for one model, each once while the run lasts. */
export class LoraFiles {
  readonly #module: Pick<PipelineModule, "openLora" | "findLora">;
  readonly #model: Model;
  readonly #folder: string;
  readonly #files = new Map<string, LoraFile>();

  /** Paths begin in `folder`. */
  constructor(module: Pick<PipelineModule, "openLora" | "findLora">, model: Model, folder: string) {
    this.#module = module;
    this.#model = model;
    this.#folder = folder;
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
      return { name, weight, file: this.#open(path) };
    });
    const named = syntax === "a1111" ? tagsOf(prompt).filter(({ weight }) => weight !== 0) : [];
    return [
      ...given,
      ...named.map(({ name, weight }) => {
        if (directory !== undefined) {
          return { name, weight, file: this.#open(this.#find(directory, name)), inPrompt: true };
        }
        const hint = "--lora-dir says in which folder it is, and with --prompt-syntax plain it is text";
        throw new UsageError(`The prompt names the LoRA ${JSON.stringify(name)}: ${hint}`);
      }),
    ];
  }

  #find(directory: string, name: string): string {
    return this.#module.findLora(resolve(this.#folder, directory), name);
  }

  #open(path: string): LoraFile {
    const file = this.#files.get(path) ?? this.#module.openLora(path, this.#model);
    this.#files.delete(path);
    this.#files.set(path, file);
    if (this.#files.size > KEPT) this.#files.delete(this.#files.keys().next().value!);
    return file;
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
export interface LoraRecord {
  readonly name: string;
  readonly weight: number;
  /** SHA-256 of the file. */
  readonly sha256: string;
}

/** The LoRAs of a request, for records; undefined when there are none. */
export function lorasOf({ loras = [] }: Pick<Request, "loras">): readonly LoraRecord[] | undefined {
  if (loras.length === 0) return undefined;
  return loras.map(({ name, weight, file: { sha256 } }) => ({ name, weight, sha256 }));
}

/** The records in what a stranger's file says; undefined when there are none. */
export function readRecords(value: unknown): readonly LoraRecord[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.filter((item): item is LoraRecord =>
    typeof item === "object" && item !== null && typeof item.name === "string" && typeof item.weight === "number" &&
    typeof item.sha256 === "string"
  );
}

/**
 * Refuses LoRAs that are called as those of a picture are, and are other files.
 *
 * @throws {UsageError} naming the first.
 */
export function checkRecords(request: Pick<Request, "loras">, records: readonly LoraRecord[], from: string): void {
  for (const { name, sha256 } of lorasOf(request) ?? []) {
    const then = records.filter((record) => stemOf(record.name) === stemOf(name));
    if (then.length === 0 || then.some((record) => record.sha256 === sha256)) continue;
    throw new UsageError(
      `The LoRA ${name} is another file than that of this name with which ${from} was made: its SHA-256 is ${sha256}, ` +
        `and was ${then[0]!.sha256}`,
    );
  }
}

/** A file's name without folder and ending. */
function stemOf(name: string): string {
  return name.replace(/^.*[/\\]/s, "").replace(/\.safetensors$/i, "");
}
