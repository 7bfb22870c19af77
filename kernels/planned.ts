/**
 * Tensors whose memory is planned, not yet real.
 * @module
 */
import type { Family } from "./family.ts";
import type { Tensor } from "./tensor.ts";

/** Shape of a tensor `[batch, channels, height, width]`. */
export type Shape = Pick<Tensor, "batch" | "channels" | "height" | "width">;

/** A tensor laid out for `family`; `kept` memory outlives the recording that writes it. */
export function planTensor(family: Family, shape: Shape, label: string, kept = false): Tensor {
  const { batch, channels, height, width } = shape;
  const layout = family.layout(channels, batch, height * width);
  return { batch, channels, height, width, memory: { layout, label, kept }, firstRow: 0 };
}
