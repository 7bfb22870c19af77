/**
 * ControlNets beside a model: opened, on the GPU, and when they take part.
 * @module
 */
import type { Memory } from "../kernels/mod.ts";
import {
  type GivenFiles,
  type ModelFiles,
  openControlNet as openFiles,
  scaleTensors,
  type TensorSource,
} from "../weights/mod.ts";
import { edges } from "./canny.ts";
import { type ControlNetConfig, readControlNetConfig, readUnetConfig, readVaeConfig } from "./nets/config.ts";
import { type ControlNetWeights, OUTPUTS, readControlNet } from "./nets/controlnet.ts";
import type { Parameters } from "./nets/parameters.ts";
import { checkTensors, ShapeRecorder } from "./nets/shapes.ts";
import type { Control, Request } from "./request.ts";
import type { ComingWeights } from "./residency.ts";
import { fit } from "./start.ts";

/** An opened ControlNet; disposing of it closes its files. */
export interface ControlNet extends Disposable {
  /** Its files. */
  readonly given: GivenFiles;
  /** @internal */
  readonly config: ControlNetConfig;
  /** @internal */
  readonly source: TensorSource;
}

/**
 * Opens the ControlNet in a folder or a file for a model.
 *
 * @throws {ModelNotFoundError} there is none
 * @throws {ModelFileError} a file of it is damaged, or it is of a kind that is not supported or another model's
 */
export function openControlNet(path: string, { config: { unet, vae } }: Pick<ModelFiles, "config">): ControlNet {
  const opened = openFiles(path);
  using stack = new DisposableStack();
  const source = stack.use(opened.source);
  const { factor } = readVaeConfig(vae);
  const config = readControlNetConfig(source.label, opened.config(unet), { unet: readUnetConfig(unet), factor });
  const recorder = new ShapeRecorder();
  readControlNet(recorder, config);
  checkTensors(source, recorder.shapes);
  stack.move();
  return { given: opened.given, config, source, [Symbol.dispose]: () => source[Symbol.dispose]() };
}

/** What a ControlNet sees of a request, and what that depends on. */
interface Seen {
  readonly key: readonly unknown[];
  readonly hint: Float32Array;
}

/** A ControlNet on the GPU, whose strength is in the weights of the layers that write what it adds. */
export class LoadedControlNet implements ComingWeights {
  readonly weights: ControlNetWeights;
  readonly #parameters: Parameters;
  readonly #source: TensorSource;
  #isNeeded = false;
  #wanted = 1;
  /** What its weights were last brought with; undefined when they could not be. */
  #strength: number | undefined = 1;
  /** For more requests with the same picture object. */
  #last: Seen | undefined;

  /** Its weights are to be read with `parameters`. */
  constructor(parameters: Parameters, { config, source }: ControlNet) {
    this.#parameters = parameters;
    this.#source = source;
    this.weights = readControlNet(parameters, config);
  }

  /** Says that what it adds is to be multiplied by `strength`, or, when that is undefined, that it takes no part. */
  want(strength: number | undefined): void {
    this.#isNeeded = strength !== undefined;
    this.#wanted = strength ?? this.#wanted;
  }

  get isNeeded(): boolean {
    return this.#isNeeded;
  }

  get isLoaded(): boolean {
    return this.#parameters.isLoaded;
  }

  get memories(): readonly Memory[] {
    return this.#parameters.memories;
  }

  async bring(): Promise<void> {
    const strength = this.#wanted;
    if (this.isLoaded && strength === this.#strength) return;
    this.#strength = undefined;
    const names = new Set(this.#source.tensors.keys().filter((name) => OUTPUTS.test(name)));
    await this.#parameters.load(scaleTensors(this.#source, names, strength), names);
    this.#strength = strength;
  }

  drop(): void {
    this.#parameters.unload();
  }

  /** What it sees, `[3, height, width]` of values 0 to 1. */
  see({ image, canny }: Control, { width, height }: Pick<Request, "width" | "height">): Float32Array {
    const key = [image, ...canny ?? [], width, height];
    if (this.#last?.key.length !== key.length || !key.every((value, i) => value === this.#last!.key[i])) {
      const fitted = fit(image, { width, height });
      const { pixels } = canny ? edges(fitted, canny) : fitted;
      const count = width * height;
      const hint = new Float32Array(3 * count);
      for (let i = 0; i < pixels.length; i++) hint[i % 3 * count + Math.floor(i / 3)] = pixels[i]! / 255;
      this.#last = { key, hint };
    }
    return this.#last.hint;
  }
}

/** Of each of `count` evaluations the ControlNets that take part in it, by their numbers, as diffusers' `controlnet_keep`. */
export function controlsOf(
  { controls = [] }: Pick<Request, "controls">,
  count: number,
): readonly (readonly number[])[] {
  return Array.from(
    { length: count },
    (_, i) =>
      controls.flatMap(({ strength = 1, start = 0, end = 1 }, number) =>
        strength === 0 || i / count < start || (i + 1) / count > end ? [] : [number]
      ),
  );
}
