/**
 * A model's tensors as layers on the GPU: read by name, checked against the shape the configuration asks for, packed.
 * @module
 */
import type { Affine, Layer, Ops } from "../../kernels/ops.ts";
import type { Filling } from "../../kernels/upload.ts";
import { ModelFileError, readValues, type TensorSource, toFloat32, type Values } from "../../weights/mod.ts";

/** How weights are stored on the GPU: as the file has them, or all in one type. Sums are float32 in any case. */
export type Precision = "auto" | "f16" | "f32";

export interface LayerShape {
  readonly in: number;
  readonly out: number;
  /** Taps along one side, 1 or 3; default 1. */
  readonly window?: number;
  /** Whether it has biases; default yes. */
  readonly bias?: boolean;
}

/** What parameters do on the GPU. */
type LayerOps = Pick<Ops, "emptyLayer" | "fill" | "affine">;

/** Layers are made without their weights, the most of what a model is: {@link Parameters.load} brings those. */
export class Parameters {
  readonly #ops: LayerOps;
  readonly #source: TensorSource;
  readonly #precision: Precision;
  #empty: Filling[] = [];

  constructor(ops: LayerOps, source: TensorSource, precision: Precision = "auto") {
    this.#ops = ops;
    this.#source = source;
    this.#precision = precision;
  }

  /**
   * A tensor's values; shapes may differ in trailing ones, since a linear layer is a 1x1 convolution.
   *
   * @throws {ModelFileError} when it is missing or has another shape.
   */
  values(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
    return toFloat32(this.#info(name, shape), this.#source.read(name));
  }

  /**
   * The rows of a table `[rows, width]`, by number: it is held as the file has it, and a row widened when asked for.
   *
   * @throws {ModelFileError} when it is missing or has another shape.
   */
  table(name: string, shape: readonly [rows: number, width: number]): (row: number) => Float32Array {
    const info = this.#info(name, shape);
    const table = this.#source.read(name);
    const bytes = info.bytes / shape[0];
    return (row) => toFloat32({ ...info, bytes }, table.subarray(row * bytes, (row + 1) * bytes));
  }

  #info(name: string, shape: readonly number[]) {
    const info = this.#source.tensors.get(name);
    if (!info) throw new ModelFileError(this.#source.label, `has no tensor ${name} [${shape.join(", ")}]`);
    if (!sameShape(info.shape, shape)) {
      throw new ModelFileError(
        this.#source.label,
        `tensor ${name} is [${info.shape.join(", ")}], and the configuration asks for [${shape.join(", ")}]`,
      );
    }
    return info;
  }

  #half(name: string): boolean {
    return this.#precision === "auto" ? this.#source.tensors.get(name)?.dtype === "F16" : this.#precision === "f16";
  }

  /** A linear layer or convolution `name.weight` and `name.bias`. */
  layer(name: string, shape: LayerShape): Layer {
    return this.stacked([name], shape);
  }

  /**
   * Several layers of one input as one, the outputs of the first before those of the second: one launch instead of
   * several. `bias` replaces the layers' own.
   */
  stacked(names: readonly string[], shape: LayerShape, bias?: Float32Array): Layer {
    return this.stackedOf(names.map((name) => ({ name, out: shape.out })), shape, bias);
  }

  /** {@link stacked} for layers of different numbers of outputs. */
  stackedOf(
    layers: readonly { readonly name: string; readonly out: number }[],
    shape: Omit<LayerShape, "out">,
    bias?: Float32Array,
  ): Layer {
    const window = shape.window ?? 1;
    const taps = window * window;
    const half = layers.every(({ name }) => this.#half(`${name}.weight`));
    const out = layers.reduce((sum, layer) => sum + layer.out, 0);
    const parts = layers.map(({ name, out }) => {
      const { name: tensor, dtype: type } = this.#info(`${name}.weight`, [out, shape.in, window, window]);
      return {
        out,
        type,
        read: (begin: number, into: Uint8Array<ArrayBuffer>) => this.#source.readAsync(tensor, { begin, into }),
        values: (into: Values) => readValues(this.#source, tensor, into),
      };
    });
    const biases = bias ?? (shape.bias === false ? undefined : this.biases(layers));
    const layer = this.#ops.emptyLayer({ out, in: shape.in, taps, half }, biases);
    this.#empty.push({ layer, half, parts });
    return layer;
  }

  /**
   * Reads the weights of the layers that were made since it was called last.
   *
   * @throws {ModelFileError} when the file can no longer be read whole.
   */
  async load(): Promise<void> {
    const fillings = this.#empty;
    this.#empty = [];
    await this.#ops.fill(fillings);
  }

  /** The biases of several layers, one after the other. */
  biases(layers: readonly { readonly name: string; readonly out: number }[]): Float32Array<ArrayBuffer> {
    return joined(layers.map(({ name, out }) => this.values(`${name}.bias`, [out])));
  }

  /** Weights and biases of a normalisation over `channels`. */
  affine(name: string, channels: number): Affine {
    return this.#ops.affine(this.values(`${name}.weight`, [channels]), this.values(`${name}.bias`, [channels]));
  }
}

/** Whether shapes are equal but for trailing ones, since a linear layer is a 1x1 convolution. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  const plain = (shape: readonly number[]) => shape.join().replace(/(,1)+$/, "");
  return plain(a) === plain(b);
}

function joined(parts: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) {
    all.set(part, end);
    end += part.length;
  }
  return all;
}
