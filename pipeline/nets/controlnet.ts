/**
 * ControlNet (arXiv 2302.05543): a copy of a UNet's encoder half that sees a picture, and adds to what the UNet's own
 * passes on.
 * @module
 */
import type { Layer, Ops } from "../../kernels/ops.ts";
import { channelsOf, type Tensor } from "../../kernels/tensor.ts";
import type { ControlNetConfig } from "./config.ts";
import type { Parameters } from "./parameters.ts";
import { encode, type Encoded, type EncoderWeights, readEncoder, type UnetConditions } from "./unet.ts";

export interface ControlNetWeights extends EncoderWeights {
  readonly config: ControlNetConfig;
  /** The layers from the picture to what is added after the first convolution, and by how much each shrinks it. */
  readonly hint: readonly { readonly layer: Layer; readonly stride: number }[];
  /** 1x1, to what is added to each of {@link Encoded.skips}. */
  readonly outputs: readonly Layer[];
  readonly middleOutput: Layer;
}

/** Tensors of the layers that write what is added: those that training begins at zero, and that a strength scales. */
export const OUTPUTS = /^controlnet_(?:down_blocks\.\d+|mid_block)\.(?:weight|bias)$/;

export function readControlNet(parameters: Parameters, config: ControlNetConfig): ControlNetWeights {
  const { encoder, skips } = readEncoder(parameters, config);
  const { hintChannels: widths } = config;
  const hint = (name: string, inputs: number, out: number, stride = 1) => {
    return { layer: parameters.layer(`controlnet_cond_embedding.${name}`, { in: inputs, out, window: 3 }), stride };
  };
  const output = (name: string, channels: number) => parameters.layer(name, { in: channels, out: channels });
  return {
    ...encoder,
    config,
    hint: [
      hint("conv_in", 3, widths[0]!),
      ...widths.slice(1).flatMap((out, i) => [
        hint(`blocks.${2 * i}`, widths[i]!, widths[i]!),
        hint(`blocks.${2 * i + 1}`, widths[i]!, out, 2),
      ]),
      hint("conv_out", widths.at(-1)!, skips[0]!),
    ],
    outputs: skips.map((channels, i) => output(`controlnet_down_blocks.${i}`, channels)),
    middleOutput: output("controlnet_mid_block", skips.at(-1)!),
  };
}

/** What a picture `[batch, 3, height, width]` of values 0 to 1 adds after the first convolution, into kept memory. */
export function embedHint(ops: Ops, { hint }: ControlNetWeights, picture: Tensor): Tensor {
  return hint.reduce((x, { layer, stride }, i) => {
    if (i < hint.length - 1) return ops.convolve(x, layer, { stride, activation: "silu" });
    return ops.convolve(x, layer, { into: ops.keep({ ...x, channels: layer.out }, "control hint", { exact: false }) });
  }, picture);
}

/** What of a ControlNet all steps share. */
export interface ControlConditions extends UnetConditions {
  /** What {@link embedHint} returned. */
  readonly hint: Tensor;
}

/** Adds to what the UNet's encoder half returned for `x`, of which the ControlNet reads its first channels. */
export function control(
  ops: Ops,
  w: ControlNetWeights,
  x: Tensor,
  { conditions, encoded }: { readonly conditions: ControlConditions; readonly encoded: Encoded },
): Encoded {
  const own = encode(ops, w, channelsOf(x, 0, w.config.inChannels), conditions, { plus: conditions.hint });
  return {
    skips: encoded.skips.map((plus, i) => ops.linear(own.skips[i]!, w.outputs[i]!, { plus })),
    middle: ops.linear(own.middle, w.middleOutput, { plus: encoded.middle }),
  };
}
