/**
 * A model with computed weights: the shapes are those that its configuration makes the readers ask for.
 * @module
 */
import type { Affine, Layer } from "../kernels/ops.ts";
import { type Model, openFormula, sd14Config, sd14Defaults, sd14Tokenizer, type TensorSource } from "../weights/mod.ts";
import { readTextConfig, readUnetConfig, readVaeConfig } from "./config.ts";
import { type LayerShape, Parameters } from "./parameters.ts";
import { readTextEncoder } from "./text_encoder.ts";
import { readUnet } from "./unet.ts";
import { readDecoder } from "./vae.ts";

/** Readers put what they read into a structure and look at none of it. */
const UNREAD = {} as Layer & Affine;

/** Opens Stable Diffusion 1.4, 1.0 billion parameters, which are computed as they are read; only noise to look at. */
export function openRandomModel(): Model {
  const { textEncoder, unet, vae } = sd14Config;
  return {
    name: "sd14 with computed weights",
    directory: "",
    config: sd14Config,
    textEncoder: computed("text_encoder", (parameters) => readTextEncoder(parameters, readTextConfig(textEncoder))),
    unet: computed("unet", (parameters) => readUnet(parameters, readUnetConfig(unet))),
    vae: computed("vae", (parameters) => readDecoder(parameters, readVaeConfig(vae))),
    tokenizer: sd14Tokenizer,
    defaults: sd14Defaults,
    [Symbol.dispose]() {},
  };
}

function computed(part: string, read: (parameters: Parameters) => unknown): TensorSource {
  return openFormula(part, recordShapes(read));
}

/** Shapes of the tensors that `read` asks for, by name. Attention in the UNet has no biases of queries, keys, values. */
export function recordShapes(read: (parameters: Parameters) => unknown): ReadonlyMap<string, readonly number[]> {
  const recorder = new ShapeRecorder();
  read(recorder);
  return recorder.shapes;
}

/** Notes what it is asked for and returns layers without weights. */
class ShapeRecorder extends Parameters {
  readonly shapes = new Map<string, readonly number[]>();

  constructor() {
    super({ layer: () => UNREAD, affine: () => UNREAD }, openFormula("no weights", new Map()));
  }

  override has(name: string): boolean {
    return !/attn[12]\.to_[qkv]\.bias$/.test(name);
  }

  override values(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
    this.shapes.set(name, shape);
    return new Float32Array();
  }

  override stackedOf(
    layers: readonly { readonly name: string; readonly out: number }[],
    shape: Omit<LayerShape, "out">,
    bias?: Float32Array,
  ): Layer {
    const { window = 1 } = shape;
    for (const { name, out } of layers) this.shapes.set(`${name}.weight`, [out, shape.in, window, window]);
    if (!bias) this.biases(layers);
    return UNREAD;
  }
}
