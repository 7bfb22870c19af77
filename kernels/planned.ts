/**
 * Tensors whose memory is planned, not yet real.
 * @module
 */
import type { Backend } from "./backend.ts";
import type { Tensor } from "./tensor.ts";

/** Shape of a tensor `[batch, channels, height, width]`. */
export type Shape = Pick<Tensor, "batch" | "channels" | "height" | "width">;

/** How a tensor's memory is used. */
export interface Use {
  /** Whether it outlives the recording that writes it; default no. */
  readonly kept?: boolean;
  /** Whether it is float32 even where the backend stores activations as float16; default no. */
  readonly exact?: boolean;
}

/** A tensor laid out for `backend`. */
export function planTensor(backend: Backend, shape: Shape, label: string, use: Use = {}): Tensor {
  const { batch, channels, height, width } = shape;
  const { kept = false, exact = false } = use;
  const layout = backend.layout(channels, batch, height * width, exact);
  return { batch, channels, height, width, memory: { layout, label, kept }, firstRow: 0 };
}
