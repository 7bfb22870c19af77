/**
 * RRDBNet, the generator of ESRGAN (arXiv 1809.00219) and Real-ESRGAN (arXiv 2107.10833): pictures to larger ones. A
 * pixel of the result depends on 15 pixels a block around its place, and three more: 348 for 23 blocks, 93 for six.
 * @module
 */
import type { Layer, Ops } from "../../kernels/ops.ts";
import type { Tensor } from "../../kernels/tensor.ts";
import type { EsrganConfig } from "../../weights/mod.ts";
import type { Parameters } from "./parameters.ts";

/** How much of what a block computes is added to its input. */
const RESIDUAL = 0.2;

/** Five convolutions, each of all that is there before it. */
type DenseBlock = readonly Layer[];

export interface EsrganWeights {
  readonly config: EsrganConfig;
  readonly first: Layer;
  /** Three dense blocks each. */
  readonly blocks: readonly (readonly DenseBlock[])[];
  readonly body: Layer;
  /** Behind a doubling each. */
  readonly doublings: readonly Layer[];
  readonly high: Layer;
  readonly last: Layer;
}

function numbered<T>(count: number, make: (number: number) => T): readonly T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

export function readEsrgan(parameters: Parameters, config: EsrganConfig): EsrganWeights {
  const { blocks, channels, growth, unshuffle, doublings } = config;
  const layer = (name: string, [from, to]: readonly [number, number] = [channels, channels]) =>
    parameters.layer(name, { in: from, out: to, window: 3 });
  const dense = (name: string) =>
    numbered(5, (i) => layer(`${name}.conv${i + 1}`, [channels + i * growth, i === 4 ? channels : growth]));
  return {
    config,
    first: layer("conv_first", [3 * unshuffle ** 2, channels]),
    blocks: numbered(blocks, (block) => numbered(3, (i) => dense(`body.${block}.rdb${i + 1}`))),
    body: layer("conv_body"),
    doublings: numbered(doublings, (i) => layer(`conv_up${i + 1}`)),
    high: layer("conv_hr"),
    last: layer("conv_last", [channels, 3]),
  };
}

/** All layers. */
export function layersOf({ first, blocks, body, doublings, high, last }: EsrganWeights): readonly Layer[] {
  return [first, ...blocks.flat(2), body, ...doublings, high, last];
}

function denseBlock(ops: Ops, layers: DenseBlock, x: Tensor): Tensor {
  const all = layers.slice(0, -1).reduce((all, layer) => {
    return ops.concat(all, ops.convolve(all, layer, { activation: "leaky_relu" }));
  }, x);
  return ops.addScaled(ops.convolve(all, layers.at(-1)!), x, RESIDUAL);
}

/**
 * Picture `[batch, 3, height, width]`, values about -1 to 1, of `x [batch, 3 x unshuffle^2, height, width]`, 0 to 1; it is
 * `2^doublings` times as high and wide as `x`.
 */
export function enlarge(ops: Ops, { first, blocks, body, doublings, high, last }: EsrganWeights, x: Tensor): Tensor {
  const begun = ops.convolve(x, first);
  const end = blocks.reduce((x, block) => {
    return ops.addScaled(block.reduce((h, layers) => denseBlock(ops, layers, h), x), x, RESIDUAL);
  }, begun);
  const large = doublings.reduce(
    (h, layer) => ops.convolve(h, layer, { upsample: 2, activation: "leaky_relu" }),
    ops.convolve(end, body, { plus: begun }),
  );
  const h = ops.convolve(large, high, { activation: "leaky_relu" });
  return ops.convolve(h, last, { activation: "from_unit", exact: true });
}
