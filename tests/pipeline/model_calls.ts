/**
 * Every operation that a model asks for, with its shape: recorded from the model's own code, without GPU or weights.
 * @module
 */
import { bufferBackend } from "../../kernels/buffer/mod.ts";
import { planTensor } from "../../kernels/backend.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { type Affine, type ConvolutionOptions, type Layer, Ops, type Shape } from "../../kernels/ops.ts";
import { BASELINE } from "../../kernels/optimizations.ts";
import { pixels, type Tensor } from "../../kernels/tensor.ts";
import { readTextConfig, readUnetConfig, readVaeConfig, type VaeConfig } from "../../pipeline/nets/config.ts";
import { type LayerShape, Parameters } from "../../pipeline/nets/parameters.ts";
import { enlarge, readEsrgan } from "../../pipeline/nets/esrgan.ts";
import { readTextEncoder, textEncoder } from "../../pipeline/nets/clip.ts";
import { control, embedHint, readControlNet } from "../../pipeline/nets/controlnet.ts";
import { prepareUnet, readUnet, unet } from "../../pipeline/nets/unet.ts";
import { decode, encode, readDecoder, readEncoder } from "../../pipeline/nets/vae.ts";
import { openRandomModel } from "../../pipeline/bench/random_models.ts";
import { type Model, openModel } from "../../pipeline/model.ts";
import { type EsrganConfig, openFormula } from "../../weights/mod.ts";
import { openTinyModel } from "../tiny_model.ts";

/** What every call has. */
interface AnyCall {
  /** Whether its operands are float32 even where activations are float16. */
  readonly exact?: true;
}

/** A convolution or linear layer. */
export interface ConvolutionCall extends AnyCall {
  readonly kind: "convolution";
  readonly x: Shape;
  readonly out: number;
  readonly window: number;
  readonly options: Omit<ConvolutionOptions, "plus" | "stepBias">;
  readonly bias: "none" | "own" | "step";
  readonly plus: boolean;
}

/** Attention of `q` to keys and values. */
export interface AttentionCall extends AnyCall {
  readonly kind: "attention";
  readonly q: Shape;
  readonly keys: number;
  readonly heads: number;
  readonly causal: boolean;
}

/** Group normalisation. */
export interface GroupNormCall extends AnyCall {
  readonly kind: "group norm";
  readonly x: Shape;
  readonly groups: number;
  readonly epsilon: number;
  readonly silu: boolean;
}

/** Layer normalisation. */
export interface LayerNormCall extends AnyCall {
  readonly kind: "layer norm";
  readonly x: Shape;
}

/** The channels of one tensor, then those of another. */
export interface ConcatCall extends AnyCall {
  readonly kind: "concat";
  readonly x: Shape;
  /** Channels of the other. */
  readonly second: number;
}

/** An operation with its shape. */
export type Call = ConvolutionCall | AttentionCall | GroupNormCall | LayerNormCall | ConcatCall;

/** Any backend would do that tells float16 activations from exact ones. */
const BACKEND = bufferBackend({ subgroups: false, threads: 256, workgroupBytes: 16384, float16: "arithmetic" });

/** Notes what it is asked for. */
class CallRecorder extends Ops {
  readonly calls = new Map<string, Call>();

  constructor() {
    super({} as Gpu, BACKEND, { optimizations: { ...BASELINE, gelu: true } });
  }

  override launch(): void {}

  #note(x: Tensor, call: Call): void {
    const { layout } = x.memory;
    const noted: Call = layout.kind === "buffer" && layout.element === "f32" ? { ...call, exact: true } : call;
    this.calls.set(JSON.stringify(noted), noted);
  }

  override convolve(x: Tensor, layer: Layer, options: ConvolutionOptions & { into?: Tensor } = {}): Tensor {
    const { into: _, plus, stepBias, ...others } = options;
    this.#note(x, {
      kind: "convolution",
      x: shapeOf(x),
      out: layer.out,
      window: layer.window,
      options: others,
      bias: stepBias ? "step" : layer.bias ? "own" : "none",
      plus: plus !== undefined,
    });
    return super.convolve(x, layer, options);
  }

  override attention(q: Tensor, k: Tensor, v: Tensor, options: { heads: number; causal?: boolean }): Tensor {
    const { heads, causal = false } = options;
    this.#note(q, { kind: "attention", q: shapeOf(q), keys: pixels(k), heads, causal });
    return super.attention(q, k, v, options);
  }

  override groupNorm(x: Tensor, affine: Affine, options: { groups: number; epsilon: number; silu?: boolean }): Tensor {
    const { groups, epsilon, silu = false } = options;
    this.#note(x, { kind: "group norm", x: shapeOf(x), groups, epsilon, silu });
    return super.groupNorm(x, affine, options);
  }

  override layerNorm(x: Tensor, affine: Affine, options: { epsilon: number }): Tensor {
    this.#note(x, { kind: "layer norm", x: shapeOf(x) });
    return super.layerNorm(x, affine, options);
  }

  override concat(x: Tensor, y: Tensor): Tensor {
    this.#note(x, { kind: "concat", x: shapeOf(x), second: y.channels });
    return super.concat(x, y);
  }
}

function shapeOf({ batch, channels, height, width }: Tensor): Shape {
  return { batch, channels, height, width };
}

/** Layers without weights. */
class PlannedParameters extends Parameters {
  constructor() {
    const fill = () => Promise.resolve();
    super(
      { emptyLayer: () => ({}) as Layer, affine: () => ({}) as Affine, fill, empty() {}, write() {}, writeAffine() {} },
      openFormula("no weights", new Map()),
    );
  }

  override values(): Float32Array<ArrayBuffer> {
    return new Float32Array();
  }

  override table(): (row: number) => Float32Array {
    return () => new Float32Array();
  }

  override affine(_name: string, channels: number): Affine {
    return plan(channels, 2);
  }

  override stackedOf(
    layers: readonly { readonly name: string; readonly out: number }[],
    { in: inputs, window = 1, bias = true }: Omit<LayerShape, "out">,
  ): Layer {
    const out = layers.reduce((sum, layer) => sum + layer.out, 0);
    return {
      weights: plan(window * window * inputs, out),
      in: inputs,
      out,
      window,
      ...(bias && { bias: plan(out, 1) }),
    };
  }
}

function plan(channels: number, height: number): Tensor {
  return planTensor(BACKEND, { batch: 1, channels, height, width: 1 }, "weights");
}

/** Every operation of the models that tests know, each once. */
export function everyCall(): readonly Call[] {
  using emoji = openModel("emoji");
  using tiny = openTinyModel();
  const all = [
    ...modelCalls(emoji, 32),
    ...modelCalls(tiny, 77),
    ...modelCalls(openRandomModel("sd14"), 77),
    ...controlCalls(tiny),
    // Of a picture of 256x256: one of 512x512 takes llvmpipe half a minute, and has the same operations.
    ...vaeCalls(readVaeConfig({ _class_name: "AutoencoderTiny" }), { height: 32, width: 32 }),
    // One block of Real-ESRGAN has the operations of all.
    ...esrganCalls({ blocks: 1, channels: 64, growth: 32, unshuffle: 1, doublings: 2 }, { height: 16, width: 16 }),
  ];
  return [...new Map(all.map((call) => [JSON.stringify(call), call])).values()];
}

/** Every operation of a guided picture of a model's own size and steps, and of encoding one; each once. */
function modelCalls(model: Pick<Model, "config" | "defaults">, tokens: number): readonly Call[] {
  const ops = new CallRecorder();
  const { config, defaults } = model;
  const parameters = new PlannedParameters();
  const text = readTextConfig(config.text_encoder);
  const vae = readVaeConfig(config.vae);
  const unetWeights = readUnet(parameters, readUnetConfig(config.unet));
  const size = { height: defaults.height / vae.factor, width: defaults.width / vae.factor };
  const embedded = ops.keep({ batch: 2, channels: text.width, height: tokens, width: 1 }, "embedded");
  const timesteps = ops.keep({
    batch: 1,
    channels: unetWeights.config.down[0]!.channels,
    height: defaults.steps,
    width: 1,
  }, "timesteps");
  const context = textEncoder(ops, readTextEncoder(parameters, text), embedded);
  const conditions = prepareUnet(ops, unetWeights, { timesteps, step: ops.buffer(1, "step", "u32"), context });
  unet(ops, unetWeights, ops.keep({ batch: 2, channels: vae.latentChannels, ...size }, "latent"), conditions);
  return [...ops.calls.values(), ...vaeCalls(vae, size)];
}

/** Every operation of a ControlNet that a picture of a model's own size is shown to; each once. */
function controlCalls({ config, defaults }: Pick<Model, "config" | "defaults">): readonly Call[] {
  const ops = new CallRecorder();
  const unetConfig = readUnetConfig(config.unet);
  const weights = readControlNet(new PlannedParameters(), { ...unetConfig, hintChannels: [16, 32, 96, 256] });
  const { width, height } = defaults;
  const hint = embedHint(ops, weights, ops.keep({ batch: 2, channels: 3, height, width }, "picture"));
  const x = ops.keep({ ...hint, channels: unetConfig.inChannels }, "latent");
  const context = ops.keep({ batch: 2, channels: unetConfig.contextWidth, height: 77, width: 1 }, "context");
  const timesteps = ops.keep({ batch: 1, channels: hint.channels, height: defaults.steps, width: 1 }, "timesteps");
  const step = ops.buffer(1, "step", "u32");
  const conditions = { ...prepareUnet(ops, weights, { timesteps, step, context }), hint };
  unet(ops, readUnet(new PlannedParameters(), unetConfig), x, conditions, {
    control: (encoded) => control(ops, weights, x, { conditions, encoded }),
  });
  return [...ops.calls.values()];
}

/** Every operation of enlarging a picture of a size; each once. */
function esrganCalls(config: EsrganConfig, size: { readonly height: number; readonly width: number }): readonly Call[] {
  const ops = new CallRecorder();
  enlarge(ops, readEsrgan(new PlannedParameters(), config), ops.keep({ batch: 1, channels: 3, ...size }, "picture"));
  return [...ops.calls.values()];
}

/** Every operation of decoding a latent of a size and of encoding its picture; each once. */
function vaeCalls(
  vae: VaeConfig,
  { height, width }: { readonly height: number; readonly width: number },
): readonly Call[] {
  const ops = new CallRecorder();
  const parameters = new PlannedParameters();
  const { latentChannels, imageChannels, factor } = vae;
  decode(ops, readDecoder(parameters, vae), ops.keep({ batch: 1, channels: latentChannels, height, width }, "latent"));
  const picture = { batch: 1, channels: imageChannels, height: height * factor, width: width * factor };
  encode(ops, readEncoder(parameters, vae), ops.keep(picture, "picture"));
  return [...ops.calls.values()];
}
