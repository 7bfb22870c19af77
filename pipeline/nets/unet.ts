/**
 * The denoising UNet of Stable Diffusion (arXiv 2112.10752), driven by its configuration.
 * @module
 */
import type { Affine, Layer, Ops, StepBias } from "../../kernels/ops.ts";
import { channelsOf, type Memory, type Tensor } from "../../kernels/tensor.ts";
import {
  type GroupNormConfig,
  readResnet,
  readTransformer,
  resnetBlock,
  type ResnetWeights,
  transformer,
  type TransformerWeights,
  type Visit,
} from "./blocks.ts";
import type { UnetBlockConfig, UnetConfig } from "./config.ts";
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

export interface UnetWeights {
  readonly config: UnetConfig;
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
  readonly up: readonly UnetBlock[];
  readonly normOut: Affine;
  readonly convOut: Layer;
}

/** Reads layers and notes the timestep projections they need. */
class LayerReader {
  readonly parameters: Parameters;
  readonly #config: UnetConfig;
  readonly projections: { readonly resnet: string; readonly name: string; readonly out: number }[] = [];
  #rows = 0;

  constructor(parameters: Parameters, config: UnetConfig) {
    this.parameters = parameters;
    this.#config = config;
  }

  layer(block: string, index: number, inputs: number, config: UnetBlockConfig, attention: boolean): UnetLayer {
    const resnet = `${block}.resnets.${index}`;
    const timeRow = this.#rows;
    this.projections.push({ resnet, name: `${resnet}.time_emb_proj`, out: config.channels });
    this.#rows += config.channels;
    return {
      resnet: readResnet(this.parameters, resnet, inputs, config.channels),
      timeRow,
      ...(attention && {
        transformer: readTransformer(this.parameters, `${block}.attentions.${index}`, {
          ...config,
          depth: config.depths[index]!,
          contextWidth: this.#config.contextWidth,
          exact: this.#config.upcastAttention,
        }),
      }),
    };
  }
}

export function readUnet(parameters: Parameters, config: UnetConfig): UnetWeights {
  const reader = new LayerReader(parameters, config);
  const first = config.down[0]!.channels;
  const timeWidth = 4 * first;
  const resample = (name: string, channels: number) =>
    parameters.layer(`${name}.conv`, { in: channels, out: channels, window: 3 });

  const convIn = parameters.layer("conv_in", { in: config.inChannels, out: first, window: 3 });
  const skips = [first];
  let channels = first;
  const down = config.down.map((block, b): UnetBlock => {
    const name = `down_blocks.${b}`;
    const layers = Array.from({ length: config.layers }, (_, i) => {
      const layer = reader.layer(name, i, channels, block, block.attention);
      channels = block.channels;
      skips.push(channels);
      return layer;
    });
    if (b === config.down.length - 1) return { layers };
    skips.push(channels);
    return { layers, resample: resample(`${name}.downsamplers.0`, channels) };
  });
  const { middle: middleConfig } = config;
  const middle = middleConfig
    // Without attention there is nothing that a second residual block would follow.
    ? [0, 1].slice(0, middleConfig.attention ? 2 : 1).map((i) =>
      reader.layer("mid_block", i, channels, middleConfig, middleConfig.attention && i === 0)
    )
    : [];
  const up = config.up.map((block, b): UnetBlock => {
    const name = `up_blocks.${b}`;
    const layers = Array.from({ length: config.layers + 1 }, (_, i) => {
      const layer = reader.layer(name, i, channels + skips.pop()!, block, block.attention);
      channels = block.channels;
      return layer;
    });
    return b === config.up.length - 1 ? { layers } : { layers, resample: resample(`${name}.upsamplers.0`, channels) };
  });

  const timeBiases = () => {
    const own = parameters.biases(reader.projections);
    const convolutions = parameters.biases(
      reader.projections.map(({ resnet, out }) => ({ name: `${resnet}.conv1`, out })),
    );
    return own.map((value, i) => value + convolutions[i]!);
  };
  const { guidanceWidth, added } = config;
  return {
    config,
    ...(added && {
      added: {
        in: parameters.layer("add_embedding.linear_1", { in: added.width, out: timeWidth }),
        out: parameters.layer("add_embedding.linear_2", { in: timeWidth, out: timeWidth }),
      },
    }),
    ...(guidanceWidth !== undefined && {
      guidance: parameters.layer("time_embedding.cond_proj", { in: guidanceWidth, out: first, bias: false }),
    }),
    timeIn: parameters.layer("time_embedding.linear_1", { in: first, out: timeWidth }),
    timeOut: parameters.layer("time_embedding.linear_2", { in: timeWidth, out: timeWidth }),
    timeProjections: parameters.stackedOf(
      reader.projections,
      { in: timeWidth },
      timeBiases,
    ),
    convIn,
    down,
    middle,
    up,
    normOut: parameters.affine("conv_norm_out", first),
    convOut: parameters.layer("conv_out", { in: first, out: config.outChannels, window: 3 }),
  };
}

/**
 * Sinusoidal embeddings `[1, channels, timesteps]` (arXiv 1706.03762, section 3.5), as float32 computes them.
 */
export function embedTimesteps(config: UnetConfig, timesteps: readonly number[]): Float32Array {
  const { flipSineToCosine: cosineFirst, frequencyShift: shift } = config;
  return embed(timesteps, { channels: config.down[0]!.channels, shift, cosineFirst });
}

/** Embeddings `[1, guidanceWidth, steps]` of a guidance scale, the same for all steps, as diffusers' `w` of LCM. */
export function embedGuidance({ guidanceWidth = 0 }: UnetConfig, guidance: number, steps: number): Float32Array {
  const scale = 1000 * (guidance - 1);
  return embed(new Array<number>(steps).fill(scale), { channels: guidanceWidth, shift: 1, cosineFirst: false });
}

/** Embeddings `[sizes x sizeWidth]` of a picture's sizes in pixels, one after the other. */
export function embedSizes(config: UnetConfig, sizes: readonly number[]): Float32Array {
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

/** The transformers in the order in which the UNet runs them. */
function transformers(w: UnetWeights): readonly TransformerWeights[] {
  const layers = [...w.down.flatMap((block) => block.layers), ...w.middle, ...w.up.flatMap((block) => block.layers)];
  return layers.flatMap((layer) => layer.transformer ?? []);
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

/** Computes what all steps share, into kept memory. */
export function prepareUnet(ops: Ops, w: UnetWeights, inputs: UnetInputs): UnetConditions {
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
    contextKv: transformers(w).flatMap((t) => t.layers.map((layer) => keep(context, layer.contextKv, exact))),
  };
}

/**
 * The predicted noise (or velocity) of `x [batch, inChannels, height, width]`, any height and width.
 *
 * `visit` is called with what each block returns, under diffusers' names.
 */
export function unet(ops: Ops, w: UnetWeights, x: Tensor, conditions: UnetConditions, visit?: Visit): Tensor {
  const { groups, epsilon } = w.config;
  const norm: GroupNormConfig = { groups, epsilon };
  const contextKv = [...conditions.contextKv];
  const run = (layer: UnetLayer, x: Tensor, name: string, index: number): Tensor => {
    const values = channelsOf(conditions.time, layer.timeRow, layer.resnet.conv1.out);
    const time: StepBias = { values, step: conditions.step };
    x = resnetBlock(ops, layer.resnet, x, norm, time);
    visit?.(`${name}.resnets.${index}`, x);
    if (!layer.transformer) return x;
    const own = contextKv.splice(0, layer.transformer.layers.length);
    const attention = `${name}.attentions.${index}`;
    x = transformer(ops, layer.transformer, x, own, groups, visit && ((stage, y) => visit(`${attention}.${stage}`, y)));
    visit?.(attention, x);
    return x;
  };

  let h = ops.convolve(x, w.convIn);
  visit?.("conv_in", h);
  const skips = [h];
  w.down.forEach((block, b) => {
    block.layers.forEach((layer, i) => skips.push(h = run(layer, h, `down_blocks.${b}`, i)));
    if (block.resample) skips.push(h = ops.convolve(h, block.resample, { stride: 2 }));
    visit?.(`down_blocks.${b}`, h);
  });
  w.middle.forEach((layer, i) => h = run(layer, h, "mid_block", i));
  visit?.("mid_block", h);
  w.up.forEach((block, b) => {
    block.layers.forEach((layer, i) => h = run(layer, ops.concat(h, skips.pop()!), `up_blocks.${b}`, i));
    const next = skips.at(-1);
    // An odd size was halved to the larger half: doubling must give back the size of what is concatenated next.
    if (block.resample && next) {
      h = ops.convolve(h, block.resample, { upsample: 2, image: [next.height, next.width] });
    }
    visit?.(`up_blocks.${b}`, h);
  });
  h = ops.groupNorm(h, w.normOut, { ...norm, silu: true });
  // Guidance multiplies what separates two predictions, and with it their rounding.
  return ops.convolve(h, w.convOut, { exact: true });
}
