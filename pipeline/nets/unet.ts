/**
 * The denoising UNet of Stable Diffusion (arXiv 2112.10752), driven by its configuration.
 * @module
 */
import type { Affine, Layer, Ops, StepBias } from "../../kernels/ops.ts";
import { channelsOf, type Memory, type Tensor } from "../../kernels/tensor.ts";
import {
  readResnet,
  readTransformer,
  resnetBlock,
  type ResnetWeights,
  transformer,
  type TransformerWeights,
  type Visit,
} from "./blocks.ts";
import type { EncoderConfig, UnetBlockConfig, UnetConfig } from "./config.ts";
import type { Parameters } from "./parameters.ts";

/** A residual block, where its timestep lies among all projections, and the transformer after it. */
interface UnetLayer {
  readonly resnet: ResnetWeights;
  readonly timeRow: number;
  readonly transformer?: TransformerWeights;
}

interface UnetBlock {
  readonly layers: readonly UnetLayer[];
  /** The convolution that halves or doubles the resolution after the layers. */
  readonly resample?: Layer;
}

/** The half of a UNet that leads down to the lowest resolution, and its middle. */
export interface EncoderWeights {
  readonly config: EncoderConfig;
  /** The embedded guidance scale's projection, which is added to the embedded timestep. */
  readonly guidance?: Layer;
  /** The layers behind the pooled text and the embedded sizes, whose result is added to the embedded timestep. */
  readonly added?: { readonly in: Layer; readonly out: Layer };
  readonly timeIn: Layer;
  readonly timeOut: Layer;
  /** The timestep's projections into all residual blocks as one layer, the first convolutions' biases added. */
  readonly timeProjections: Layer;
  readonly convIn: Layer;
  readonly down: readonly UnetBlock[];
  readonly middle: readonly UnetLayer[];
  /** All transformers, in the order in which they run. */
  readonly transformers: readonly TransformerWeights[];
}

export interface UnetWeights extends EncoderWeights {
  readonly config: UnetConfig;
  readonly up: readonly UnetBlock[];
  readonly normOut: Affine;
  readonly convOut: Layer;
}

/** Reads layers and notes the timestep projections they need, and their transformers. */
class LayerReader {
  readonly parameters: Parameters;
  readonly #config: EncoderConfig;
  readonly #projections: { readonly resnet: string; readonly name: string; readonly out: number }[] = [];
  readonly #transformers: TransformerWeights[] = [];
  #rows = 0;

  constructor(parameters: Parameters, config: EncoderConfig) {
    this.parameters = parameters;
    this.#config = config;
  }

  layer(block: string, index: number, inputs: number, config: UnetBlockConfig, attention: boolean): UnetLayer {
    const resnet = `${block}.resnets.${index}`;
    const timeRow = this.#rows;
    this.#projections.push({ resnet, name: `${resnet}.time_emb_proj`, out: config.channels });
    this.#rows += config.channels;
    const read = {
      resnet: readResnet(this.parameters, resnet, inputs, config.channels),
      timeRow,
    };
    if (!attention) return read;
    const transformer = readTransformer(this.parameters, `${block}.attentions.${index}`, {
      ...config,
      depth: config.depths[index]!,
      contextWidth: this.#config.contextWidth,
      exact: this.#config.upcastAttention,
    });
    this.#transformers.push(transformer);
    return { ...read, transformer };
  }

  resample(name: string, channels: number): Layer {
    return this.parameters.layer(`${name}.conv`, { in: channels, out: channels, window: 3 });
  }

  /** The first convolution, the blocks that lead down and the middle; `skips` are the channels of what they pass on. */
  encoder(): Pick<EncoderWeights, "convIn" | "down" | "middle"> & { readonly skips: readonly number[] } {
    const config = this.#config;
    const first = config.down[0]!.channels;
    const convIn = this.parameters.layer("conv_in", { in: config.inChannels, out: first, window: 3 });
    const skips = [first];
    let channels = first;
    const down = config.down.map((block, b): UnetBlock => {
      const name = `down_blocks.${b}`;
      const layers = Array.from({ length: config.layers }, (_, i) => {
        const layer = this.layer(name, i, channels, block, block.attention);
        channels = block.channels;
        skips.push(channels);
        return layer;
      });
      if (b === config.down.length - 1) return { layers };
      skips.push(channels);
      return { layers, resample: this.resample(`${name}.downsamplers.0`, channels) };
    });
    const { middle: middleConfig } = config;
    const middle = middleConfig
      // Without attention there is nothing that a second residual block would follow.
      ? [0, 1].slice(0, middleConfig.attention ? 2 : 1).map((i) =>
        this.layer("mid_block", i, channels, middleConfig, middleConfig.attention && i === 0)
      )
      : [];
    return { convIn, down, middle, skips };
  }

  /** What makes of a timestep what each of the layers takes, when all of those are read. */
  time(): Pick<EncoderWeights, "added" | "timeIn" | "timeOut" | "timeProjections" | "transformers"> {
    const { parameters } = this;
    const { added, down } = this.#config;
    const first = down[0]!.channels;
    const timeWidth = 4 * first;
    const projections = this.#projections;
    const biases = () => {
      const own = parameters.biases(projections);
      const convolutions = parameters.biases(projections.map(({ resnet, out }) => ({ name: `${resnet}.conv1`, out })));
      return own.map((value, i) => value + convolutions[i]!);
    };
    return {
      ...(added && {
        added: {
          in: parameters.layer("add_embedding.linear_1", { in: added.width, out: timeWidth }),
          out: parameters.layer("add_embedding.linear_2", { in: timeWidth, out: timeWidth }),
        },
      }),
      timeIn: parameters.layer("time_embedding.linear_1", { in: first, out: timeWidth }),
      timeOut: parameters.layer("time_embedding.linear_2", { in: timeWidth, out: timeWidth }),
      timeProjections: parameters.stackedOf(projections, { in: timeWidth }, biases),
      transformers: this.#transformers,
    };
  }
}

/** Reads the encoder half alone; `skips` are the channels of what it passes on, the last also those of its middle. */
export function readEncoder(
  parameters: Parameters,
  config: EncoderConfig,
): { readonly encoder: EncoderWeights; readonly skips: readonly number[] } {
  const reader = new LayerReader(parameters, config);
  const { skips, ...encoder } = reader.encoder();
  return { encoder: { config, ...encoder, ...reader.time() }, skips };
}

export function readUnet(parameters: Parameters, config: UnetConfig): UnetWeights {
  const reader = new LayerReader(parameters, config);
  const { skips, ...encoder } = reader.encoder();
  const left = [...skips];
  let channels = left.at(-1)!;
  const up = config.up.map((block, b): UnetBlock => {
    const name = `up_blocks.${b}`;
    const layers = Array.from({ length: config.layers + 1 }, (_, i) => {
      const layer = reader.layer(name, i, channels + left.pop()!, block, block.attention);
      channels = block.channels;
      return layer;
    });
    return b === config.up.length - 1
      ? { layers }
      : { layers, resample: reader.resample(`${name}.upsamplers.0`, channels) };
  });
  const { guidanceWidth } = config;
  const first = config.down[0]!.channels;
  return {
    config,
    ...encoder,
    ...reader.time(),
    ...(guidanceWidth !== undefined && {
      guidance: parameters.layer("time_embedding.cond_proj", { in: guidanceWidth, out: first, bias: false }),
    }),
    up,
    normOut: parameters.affine("conv_norm_out", first),
    convOut: parameters.layer("conv_out", { in: first, out: config.outChannels, window: 3 }),
  };
}

/**
 * Sinusoidal embeddings `[1, channels, timesteps]` (arXiv 1706.03762, section 3.5), as float32 computes them.
 */
export function embedTimesteps(config: EncoderConfig, timesteps: readonly number[]): Float32Array {
  const { flipSineToCosine: cosineFirst, frequencyShift: shift } = config;
  return embed(timesteps, { channels: config.down[0]!.channels, shift, cosineFirst });
}

/** Embeddings `[1, guidanceWidth, steps]` of a guidance scale, the same for all steps, as diffusers' `w` of LCM. */
export function embedGuidance({ guidanceWidth = 0 }: UnetConfig, guidance: number, steps: number): Float32Array {
  const scale = 1000 * (guidance - 1);
  return embed(new Array<number>(steps).fill(scale), { channels: guidanceWidth, shift: 1, cosineFirst: false });
}

/** Embeddings `[sizes x sizeWidth]` of a picture's sizes in pixels, one after the other. */
export function embedSizes(config: EncoderConfig, sizes: readonly number[]): Float32Array {
  const { flipSineToCosine: cosineFirst, frequencyShift: shift, added } = config;
  const channels = added!.sizeWidth;
  return Float32Array.from(sizes.flatMap((size) => [...embed([size], { channels, shift, cosineFirst })]));
}

function embed(
  values: readonly number[],
  { channels, shift, cosineFirst }: { channels: number; shift: number; cosineFirst: boolean },
): Float32Array {
  const half = channels >> 1;
  const embedded = new Float32Array(channels * values.length);
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(Math.exp(Math.fround(-Math.log(10000) * i / (half - shift))));
    values.forEach((value, column) => {
      const angle = Math.fround(value * frequency);
      const [sine, cosine] = cosineFirst ? [half + i, i] : [i, half + i];
      embedded[sine * values.length + column] = Math.sin(angle);
      embedded[cosine * values.length + column] = Math.cos(angle);
    });
  }
  return embedded;
}

export interface UnetConditions {
  /** Projected timesteps of all steps, `[1 or batch, all residual blocks' channels, steps]`. */
  readonly time: Tensor;
  readonly step: Memory;
  /** Keys and values of the context, one tensor for each transformer layer in order of use. */
  readonly contextKv: readonly Tensor[];
}

export interface UnetInputs {
  /** Embedded timesteps of all steps, `[1, channels, steps]`, or of each sample where samples differ in `added`. */
  readonly timesteps: Tensor;
  /** The embedded guidance scale of all steps, `[1, guidanceWidth, steps]`, for a UNet that takes one. */
  readonly guidance?: Tensor | undefined;
  /** The pooled text and the embedded sizes of all steps, `[batch, width, steps]`, for a UNet that takes them. */
  readonly added?: Tensor | undefined;
  readonly step: Memory;
  /** `[batch, width, tokens]`. */
  readonly context: Tensor;
}

/** Computes what all steps of a UNet, or of an encoder half alone, share, into kept memory. */
export function prepareUnet(ops: Ops, w: EncoderWeights, inputs: UnetInputs): UnetConditions {
  const { timesteps, guidance, step, context } = inputs;
  const time = w.guidance && guidance ? ops.linear(guidance, w.guidance, { plus: timesteps }) : timesteps;
  const plus = w.added && inputs.added &&
    ops.linear(ops.linear(inputs.added, w.added.in, { activation: "silu" }), w.added.out);
  const embedding = ops.linear(ops.linear(time, w.timeIn, { activation: "silu" }), w.timeOut, {
    activation: "silu",
    ...(plus && { plus, plusFirst: true }),
  });
  const keep = (x: Tensor, layer: Layer, exact: boolean) =>
    ops.linear(x, layer, { into: ops.keep({ ...x, channels: layer.out }, "conditions", { exact }) });
  const { upcastAttention: exact } = w.config;
  return {
    time: keep(embedding, w.timeProjections, true),
    step,
    contextKv: w.transformers.flatMap((t) => t.layers.map((layer) => keep(context, layer.contextKv, exact))),
  };
}

/** Runs a layer, the transformers' conditions in their order. */
type RunLayer = (layer: UnetLayer, x: Tensor, name: string, index: number) => Tensor;

function layerRunner(ops: Ops, { config }: EncoderWeights, conditions: UnetConditions, visit?: Visit): RunLayer {
  const { groups, epsilon } = config;
  const contextKv = [...conditions.contextKv];
  return (layer, x, name, index) => {
    const values = channelsOf(conditions.time, layer.timeRow, layer.resnet.conv1.out);
    const time: StepBias = { values, step: conditions.step };
    x = resnetBlock(ops, layer.resnet, x, { groups, epsilon }, time);
    visit?.(`${name}.resnets.${index}`, x);
    if (!layer.transformer) return x;
    const own = contextKv.splice(0, layer.transformer.layers.length);
    const attention = `${name}.attentions.${index}`;
    x = transformer(ops, layer.transformer, x, own, groups, visit && ((stage, y) => visit(`${attention}.${stage}`, y)));
    visit?.(attention, x);
    return x;
  };
}

/** What an encoder half returns. */
export interface Encoded {
  /** What the decoder's layers read besides, the last one first. */
  readonly skips: readonly Tensor[];
  readonly middle: Tensor;
}

/** Runs the encoder half alone; `plus` is added after the first convolution. */
export function encode(
  ops: Ops,
  w: EncoderWeights,
  x: Tensor,
  conditions: UnetConditions,
  { plus }: { readonly plus: Tensor },
): Encoded {
  return runEncoder(ops, w, ops.convolve(x, w.convIn, { plus }), layerRunner(ops, w, conditions));
}

/** {@link encode} after the first convolution, which returned `h`. */
function runEncoder(ops: Ops, w: EncoderWeights, h: Tensor, run: RunLayer, visit?: Visit): Encoded {
  visit?.("conv_in", h);
  const skips = [h];
  w.down.forEach((block, b) => {
    block.layers.forEach((layer, i) => skips.push(h = run(layer, h, `down_blocks.${b}`, i)));
    if (block.resample) skips.push(h = ops.convolve(h, block.resample, { stride: 2 }));
    visit?.(`down_blocks.${b}`, h);
  });
  w.middle.forEach((layer, i) => h = run(layer, h, "mid_block", i));
  visit?.("mid_block", h);
  return { skips, middle: h };
}

export interface UnetOptions {
  /** Is called with what each block returns, under diffusers' names. */
  readonly visit?: Visit;
  /** Changes what the decoder half starts from. */
  readonly control?: (encoded: Encoded) => Encoded;
}

/** The predicted noise (or velocity) of `x [batch, inChannels, height, width]`, any height and width. */
export function unet(
  ops: Ops,
  w: UnetWeights,
  x: Tensor,
  conditions: UnetConditions,
  { visit, control = (encoded) => encoded }: UnetOptions = {},
): Tensor {
  const run = layerRunner(ops, w, conditions, visit);
  const encoded = control(runEncoder(ops, w, ops.convolve(x, w.convIn), run, visit));
  const skips = [...encoded.skips];
  let h = encoded.middle;
  w.up.forEach((block, b) => {
    block.layers.forEach((layer, i) => h = run(layer, ops.concat(h, skips.pop()!), `up_blocks.${b}`, i));
    const next = skips.at(-1);
    // An odd size was halved to the larger half: doubling must give back the size of what is concatenated next.
    if (block.resample && next) {
      h = ops.convolve(h, block.resample, { upsample: 2, image: [next.height, next.width] });
    }
    visit?.(`up_blocks.${b}`, h);
  });
  const { groups, epsilon } = w.config;
  h = ops.groupNorm(h, w.normOut, { groups, epsilon, silu: true });
  // Guidance multiplies what separates two predictions, and with it their rounding.
  return ops.convolve(h, w.convOut, { exact: true });
}
