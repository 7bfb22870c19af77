/**
 * What operations are worth: names, floating-point operations and bytes for profiles.
 * @module
 */
import type { Operation } from "./launch.ts";
import { bytesOf, columns, pixels, type Tensor } from "./tensor.ts";

function elementsOf(...operands: readonly Tensor[]): string {
  return operands.map(({ memory: { layout } }) => layout.kind === "buffer" ? layout.element : layout.format).join(
    " x ",
  );
}

/** Bytes of a tensor's own values: a view counts its channels only. */
function bytesOfValues(x: Tensor): number {
  return 4 * x.channels * columns(x);
}

function size(x: Tensor): string {
  return `${x.batch}x${x.height}x${x.width}`;
}

/** An operation that is limited by memory: it reads `inputs` and writes `out`. */
export function memoryWork(name: string, out: Tensor, ...inputs: readonly Tensor[]): Operation {
  const bytes = [out, ...inputs].reduce((sum, x) => sum + bytesOfValues(x), 0);
  return { operation: `${name} ${out.channels}, ${size(out)}`, elements: elementsOf(...inputs), flops: 0, bytes };
}

/** A linear layer or convolution of `x` to `out`; `window` counts taps along one side. */
export function layerWork(
  x: Tensor,
  layer: { readonly weights: Tensor; readonly in: number; readonly out: number; readonly window: number },
  out: Tensor,
): Operation {
  const { window } = layer;
  const name = window === 1 ? "linear" : `convolution ${window}x${window}`;
  const from = pixels(x) === pixels(out) ? "" : ` from ${size(x)}`;
  return {
    operation: `${name} ${layer.in} to ${layer.out}, ${size(out)}${from}`,
    elements: elementsOf(x, layer.weights),
    flops: 2 * layer.in * layer.out * window * window * columns(out),
    bytes: bytesOfValues(x) + bytesOfValues(out) + bytesOf(layer.weights.memory.layout),
  };
}

/** Attention of `q` to `k` and values shaped like it; causal attention counts in full. */
export function attentionWork(q: Tensor, k: Tensor, heads: number): Operation {
  return {
    operation: `attention ${heads}x${q.channels / heads}, ${q.batch}x${pixels(q)} to ${pixels(k)}`,
    elements: elementsOf(q, k),
    flops: 4 * q.channels * columns(q) * pixels(k),
    bytes: 2 * (bytesOfValues(q) + bytesOfValues(k)),
  };
}
