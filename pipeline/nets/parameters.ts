/**
 * A model's tensors as layers on the GPU: read by name, checked against the shape the configuration asks for, packed.
 * @module
 */
import type { Affine, Layer, Ops } from "../../kernels/ops.ts";
import type { Memory } from "../../kernels/tensor.ts";
import type { Filling } from "../../kernels/upload.ts";
import {
  type MergedSource,
  ModelFileError,
  readValues,
  type TensorSource,
  toFloat32,
  type Values,
} from "../../weights/mod.ts";

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
type LayerOps = Pick<Ops, "emptyLayer" | "fill" | "empty" | "write" | "affine" | "writeAffine">;

/** A layer, and the weights that it is filled with: of its first outputs first. */
interface Made {
  readonly layer: Layer;
  readonly half: boolean;
  readonly weights: readonly { readonly name: string; readonly out: number }[];
}

/** What is small enough to be made on the host, of these tensors. */
interface Small {
  readonly names: ReadonlySet<string>;
  write(): void;
}

/** Layers are made without their weights, the most of what a model is: {@link Parameters.load} brings those. */
export class Parameters {
  readonly #ops: LayerOps;
  #source: TensorSource;
  readonly #precision: Precision;
  readonly #layers: Made[] = [];
  /** How many of the layers are filled. */
  #filled = 0;
  readonly #small: Small[] = [];
  /** The tensors that were read since it was emptied. */
  #names = new Set<string>();

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
    this.#names.add(name);
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
   * several. `bias` reads what replaces the layers' own.
   */
  stacked(names: readonly string[], shape: LayerShape, bias?: () => Float32Array): Layer {
    return this.stackedOf(names.map((name) => ({ name, out: shape.out })), shape, bias);
  }

  /** {@link stacked} for layers of different numbers of outputs. */
  stackedOf(
    layers: readonly { readonly name: string; readonly out: number }[],
    shape: Omit<LayerShape, "out">,
    bias?: () => Float32Array,
  ): Layer {
    const window = shape.window ?? 1;
    const taps = window * window;
    const half = layers.every(({ name }) => this.#half(`${name}.weight`));
    const out = layers.reduce((sum, layer) => sum + layer.out, 0);
    const weights = layers.map(({ name, out }) => {
      return { name: this.#info(`${name}.weight`, [out, shape.in, window, window]).name, out };
    });
    const readBias = bias ?? (shape.bias === false ? undefined : () => this.biases(layers));
    const spec = { out, in: shape.in, taps, half };
    const layer = readBias === undefined
      ? this.#ops.emptyLayer(spec)
      : this.#keep(() => this.#ops.emptyLayer(spec, readBias()), ({ bias }) => this.#ops.write(bias!, readBias()));
    this.#layers.push({ layer, half, weights });
    return layer;
  }

  /** What `make` makes on the host, and notes of which tensors, so that `write` can bring it up to date. */
  #keep<T>(make: () => T, write: (made: T) => void): T {
    this.#names = new Set();
    const made = make();
    this.#small.push({ names: this.#names, write: () => write(made) });
    return made;
  }

  /** Whether all layers have their weights. */
  get isLoaded(): boolean {
    return this.#filled === this.#layers.length;
  }

  /** The memory of the layers' weights. */
  get memories(): readonly Memory[] {
    return this.#layers.map(({ layer }) => layer.weights.memory);
  }

  /**
   * Reads the weights of the layers that have none. From another `source`, which has the same tensors, it also writes
   * anew whatever was made of those of `names`: layers keep the type that they have, and what programs computed from them
   * once, such as transformed weights, is as it was.
   *
   * @throws {ModelFileError} when a file can no longer be read whole.
   */
  async load(
    source: TensorSource | MergedSource = this.#source,
    names: ReadonlySet<string> = new Set(),
  ): Promise<void> {
    const own = this.#source;
    this.#source = source;
    try {
      const wanted = this.#layers.filter(({ weights }, i) => {
        return i >= this.#filled || weights.some(({ name }) => names.has(name));
      });
      await this.#ops.fill(wanted.map((made) => fillingOf(made, source)));
      this.#filled = this.#layers.length;
      for (const { names: made, write } of this.#small) if (!made.isDisjointFrom(names)) write();
    } finally {
      this.#source = own;
    }
  }

  /** Gives back the memory of the layers' weights, until {@link load}; programs that use them must rest. */
  unload(): void {
    this.#ops.empty(this.#layers.map(({ layer }) => layer));
    this.#filled = 0;
  }

  /** The biases of several layers, one after the other. */
  biases(layers: readonly { readonly name: string; readonly out: number }[]): Float32Array<ArrayBuffer> {
    return joined(layers.map(({ name, out }) => this.values(`${name}.bias`, [out])));
  }

  /** Weights and biases of a normalisation over `channels`. */
  affine(name: string, channels: number): Affine {
    const read = () => [this.values(`${name}.weight`, [channels]), this.values(`${name}.bias`, [channels])] as const;
    return this.#keep(() => this.#ops.affine(...read()), (affine) => this.#ops.writeAffine(affine, ...read()));
  }
}

/** Where the weights of a layer come from; products that are added to them the GPU computes where it packs. */
function fillingOf({ layer, half, weights }: Made, source: TensorSource | MergedSource): Filling {
  const parts = weights.map(({ name, out }) => {
    const plus = "product" in source ? source.product(name) : undefined;
    const stored = "product" in source && plus ? source.base : source;
    return {
      out,
      type: stored.tensors.get(name)!.dtype,
      read: (begin: number, into: Uint8Array<ArrayBuffer>) => stored.readAsync(name, { begin, into }),
      ...(plus && { plus }),
      values: (into: Values) => readValues(source, name, into),
    };
  });
  return { layer, half, parts };
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
