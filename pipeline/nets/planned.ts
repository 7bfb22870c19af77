/**
 * Layers without weights: enough to record with, and to know what memory that takes.
 * @module
 */
import type { Ops } from "../../kernels/ops.ts";
import type { TensorSource } from "../../weights/mod.ts";
import { Parameters, type Precision } from "./parameters.ts";

/** Makes layers and normalisations whose memory nobody fills; of a model's files it reads what they hold, no tensor. */
export class PlannedParameters extends Parameters {
  constructor(ops: Ops, source: TensorSource, precision?: Precision) {
    const keep = (channels: number, height: number) => ops.keep({ batch: 1, channels, height, width: 1 }, "parameters");
    super(
      {
        emptyLayer: (shape, bias) => ({ ...ops.emptyLayer(shape), ...(bias && { bias: keep(shape.out, 1) }) }),
        affine: (weight) => keep(weight.length, 2),
        fill: () => Promise.resolve(),
        empty() {},
        write() {},
        writeAffine() {},
      },
      source,
      precision,
    );
  }

  override values(_name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
    return new Float32Array(shape.reduce((a, b) => a * b, 1));
  }

  override table(): () => Float32Array {
    return () => new Float32Array();
  }
}
