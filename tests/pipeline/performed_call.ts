/**
 * Performs an operation of a model on given operands.
 * @module
 */
import { planTensor } from "../../kernels/backend.ts";
import type { Layer, Ops } from "../../kernels/ops.ts";
import type { Memory, Tensor } from "../../kernels/tensor.ts";
import type { Call } from "./model_calls.ts";

/** What a call reads, in the order in which it takes it. */
export interface Operands {
  readonly tensors: readonly Tensor[];
  readonly layer?: Layer;
  readonly affine?: Tensor;
  /** The table of biases and the running step, of layers that have one. */
  readonly stepBias?: { readonly values: Tensor; readonly step: Memory };
}

/** Shapes of the tensors that a call reads. */
export function operandShapes(call: Call): readonly Pick<Tensor, "batch" | "channels" | "height" | "width">[] {
  switch (call.kind) {
    case "convolution":
      return [call.x, ...(call.plus ? [outputShape(call)] : [])];
    case "attention": {
      const keys = { ...call.q, height: call.keys, width: 1 };
      return [call.q, keys, keys];
    }
    case "concat":
      return [call.x, { ...call.x, channels: call.second }];
    default:
      return [call.x];
  }
}

/** Shape of a convolution's output. */
export function outputShape({ x, out, window, options }: Extract<Call, { kind: "convolution" }>) {
  const { stride = 1, upsample = 1, pad = window >> 1, activation } = options;
  const [height, width] = (options.image ?? [x.height * upsample, x.width * upsample]).map((extent) =>
    Math.floor((extent + pad + (options.padEnd ?? pad) - window) / stride) + 1
  ) as [number, number];
  return { batch: x.batch, channels: activation === "geglu" ? out / 2 : out, height, width };
}

/** Records a call on float32 operands, which are stored as the model's are; the result is float32, too. */
export function performExactly(ops: Ops, call: Call, operands: Operands): Tensor {
  const stored = (x: Tensor, exact: boolean): Tensor => {
    const y = planTensor(ops.backend, x, "copy", { exact });
    if (elementOf(x) === elementOf(y)) return x;
    ops.copy(x, y);
    return y;
  };
  const tensors = call.exact ? operands.tensors : operands.tensors.map((x) => stored(x, false));
  return stored(perform(ops, call, { ...operands, tensors }), true);
}

function elementOf({ memory: { layout } }: Tensor): string {
  return layout.kind === "buffer" ? layout.element : layout.format;
}

/** Records a call. */
export function perform(ops: Ops, call: Call, { tensors, layer, affine, stepBias }: Operands): Tensor {
  const [x, y, z] = tensors as [Tensor, Tensor, Tensor];
  switch (call.kind) {
    case "convolution":
      return ops.convolve(x, layer!, { ...call.options, ...(call.plus && { plus: y }), ...(stepBias && { stepBias }) });
    case "attention":
      return ops.attention(x, y, z, { heads: call.heads, causal: call.causal });
    case "group norm":
      return ops.groupNorm(x, affine!, { groups: call.groups, epsilon: call.epsilon, silu: call.silu });
    case "layer norm":
      return ops.layerNorm(x, affine!, { epsilon: 1e-5 });
    case "concat":
      return ops.concat(x, y);
  }
}
