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
  type TensorSource,
} from "../weights/mod.ts";
import type { Model } from "./model.ts";
import type { Parameters } from "./nets/parameters.ts";
import type { Lora } from "./request.ts";
import type { ComingWeights } from "./residency.ts";

/**
 * Reads which tensors of a model the LoRA file at `path` changes, and checks that it fits them: those of kohya's scripts,
 * diffusers, PEFT and LyCORIS (LoCon, LoHa, LoKr, DoRA). The file is open only while it is read.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is damaged, changes nothing of this model or does not fit it
 */
export function openLora(path: string, { parts }: Model): LoraFile {
  return openFile(path, parts);
}

/** No LoRA, as a key. */
const NONE = "[]";

/**
 * Brings a model's parts to the GPU, with LoRAs merged into their weights: those are taken out again tensor by tensor, and
 * the rest of a part that is there is not touched.
 */
export class PartWeights {
  readonly #parameters: ByPart<Parameters>;
  readonly #parts: ByPart<TensorSource>;
  #wanted: readonly Lora[] = [];
  #key = NONE;
  /** The LoRAs that are merged into a part: none to begin with, nobody knows which where that did not end well. */
  readonly #merged = new Map<PartName, string>();
  readonly #changed = new Map<PartName, ReadonlySet<string>>();
  #version = 0;

  /** No LoRA is merged into the weights of these `parameters`, which were read from `parts`. */
  constructor(parameters: ByPart<Parameters>, parts: ByPart<TensorSource>) {
    this.#parameters = parameters;
    this.#parts = parts;
  }

  /** Which of the states it is that the weights have been wanted in, from 0. */
  get version(): number {
    return this.#version;
  }

  /** Says that weights are to be those of the model with these LoRAs, in their order, and no others. */
  want(loras: readonly Lora[]): void {
    this.#wanted = loras.filter(({ weight }) => weight !== 0);
    const key = JSON.stringify(this.#wanted.map(({ file: { path, sha256 }, weight }) => [path, sha256, weight]));
    if (key !== this.#key) this.#version++;
    this.#key = key;
  }

  /** A part's weights. What they are made of is computed in float32; the model's files must still be open. */
  of(part: PartName): ComingWeights {
    const parameters = this.#parameters[part]!;
    return {
      isNeeded: true,
      get isLoaded() {
        return parameters.isLoaded;
      },
      memories: parameters.memories,
      bring: () => this.#bring(part),
      drop: () => parameters.unload(),
    };
  }

  async #bring(part: PartName): Promise<void> {
    const parameters = this.#parameters[part]!;
    const merged = this.#merged.get(part) ?? NONE;
    if (parameters.isLoaded && merged === this.#key) return;
    if (merged === this.#key && merged === NONE) return await parameters.load();
    const before = this.#changed.get(part) ?? new Set<string>();
    using source = mergeLoras(this.#parts[part]!, part, this.#wanted);
    // Until it is done they are a mixture.
    this.#merged.set(part, "");
    this.#changed.set(part, source.changed.union(before));
    await parameters.load(source, source.changed.union(before));
    this.#changed.set(part, source.changed);
    this.#merged.set(part, this.#key);
  }
}
