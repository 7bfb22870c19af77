/**
 * LoRAs in the weights of a loaded model.
 * @module
 */
import {
  type ByPart,
  type LoraFile,
  mergeLoras,
  openLora as openFile,
  type PartName,
  partsOf,
  type TensorSource,
} from "../weights/mod.ts";
import type { Model } from "./model.ts";
import type { Parameters } from "./nets/parameters.ts";
import type { Lora } from "./request.ts";

/**
 * Reads which tensors of a model the LoRA file at `path` changes, and checks that it fits them: those of kohya's scripts,
 * diffusers, PEFT and LyCORIS (LoCon, LoHa, LoKr, DoRA). The file is open only while it is read.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is damaged, changes nothing of this model or does not fit it
 */
export function openLora(path: string, { parts }: Model): LoraFile {
  return openFile(path, parts);
}

/** Merges LoRAs into weights and takes them out again, tensor by tensor; the rest of the model is not touched. */
export class LoraWeights {
  readonly #parameters: ByPart<Parameters>;
  readonly #parts: ByPart<TensorSource>;
  /** The LoRAs that are merged; undefined when that did not end well. */
  #merged: string | undefined = "[]";
  readonly #changed = new Map<PartName, ReadonlySet<string>>();
  #version = 0;

  /** No LoRA is merged into the weights of these `parameters`, which were read from `parts`. */
  constructor(parameters: ByPart<Parameters>, parts: ByPart<TensorSource>) {
    this.#parameters = parameters;
    this.#parts = parts;
  }

  /** Which of the states it is that the weights have been in, from 0. */
  get version(): number {
    return this.#version;
  }

  /**
   * Makes the weights those of the model with these LoRAs, in their order, and no others. What they are made of is
   * computed in float32; the model's files must still be open.
   *
   * @throws {ModelFileError | ModelNotFoundError} when a file is not any more what it was.
   */
  async use(loras: readonly Lora[]): Promise<void> {
    const wanted = loras.filter(({ weight }) => weight !== 0);
    const key = JSON.stringify(wanted.map(({ file: { path, sha256 }, weight }) => [path, sha256, weight]));
    if (key === this.#merged) return;
    this.#merged = undefined;
    this.#version++;
    for (const part of partsOf(this.#parts)) {
      using source = mergeLoras(this.#parts[part]!, part, wanted);
      // Until it is done they are a mixture.
      const names = source.changed.union(this.#changed.get(part) ?? new Set<string>());
      this.#changed.set(part, names);
      if (names.size > 0) await this.#parameters[part]!.rewrite(source, names);
      this.#changed.set(part, source.changed);
    }
    this.#merged = key;
  }
}
