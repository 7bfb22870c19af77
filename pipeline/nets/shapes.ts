/**
 * Which tensors a model must have: what its readers ask for, held against what its files hold.
 * @module
 */
import type { Affine, Layer } from "../../kernels/ops.ts";
import { ModelFileError, openFormula, shown, type TensorSource } from "../../weights/mod.ts";
import { type LayerShape, Parameters, sameShape } from "./parameters.ts";

/** Names and row-major dimensions of tensors. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** As many tensors as one error names. */
const MOST_NAMED = 10;

/** Readers put what they read into a structure and look at none of it. */
const UNREAD = {} as Layer & Affine;

/**
 * Holds a part's tensors against those that its configuration asks for, every one.
 *
 * @throws {ModelFileError} naming the tensors that are missing, of another shape, or not asked for.
 */
export function checkTensors({ label, tensors }: Pick<TensorSource, "label" | "tensors">, wanted: Shapes): void {
  const missing: string[] = [];
  const misshapen: string[] = [];
  for (const [name, shape] of wanted) {
    const info = tensors.get(name);
    if (!info) missing.push(`${name} ${dimensions(shape)}`);
    else if (!sameShape(info.shape, shape)) {
      misshapen.push(`${name} is ${dimensions(info.shape)}, not ${dimensions(shape)}`);
    }
  }
  const extra = [...tensors.keys()].filter((name) => !wanted.has(name)).map(shown);
  const problems = [
    listed(missing, ["tensor is missing", "tensors are missing"]),
    listed(misshapen, [
      "tensor has another shape than the configuration asks for",
      "tensors have other shapes than the configuration asks for",
    ]),
    listed(extra, ["tensor is unknown", "tensors are unknown"]),
  ].flat();
  if (problems.length > 0) throw new ModelFileError(label, problems.join("; "));
}

function listed(items: readonly string[], [one, many]: readonly [string, string]): readonly string[] {
  if (items.length === 0) return [];
  const named = items.slice(0, MOST_NAMED).join(", ");
  const rest = items.length > MOST_NAMED ? ` and ${items.length - MOST_NAMED} more` : "";
  return [`${items.length} ${items.length === 1 ? one : many}: ${named}${rest}`];
}

function dimensions(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/** Notes the shapes of the tensors that it is asked for, by name, and returns layers without weights. */
export class ShapeRecorder extends Parameters {
  readonly shapes = new Map<string, readonly number[]>();

  constructor() {
    super(
      {
        emptyLayer: () => UNREAD,
        affine: () => UNREAD,
        fill: () => Promise.resolve(),
        empty() {},
        write() {},
        writeAffine() {},
      },
      openFormula("no weights", new Map()),
    );
  }

  override values(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
    this.shapes.set(name, shape);
    return new Float32Array();
  }

  override table(name: string, shape: readonly [rows: number, width: number]): () => Float32Array {
    this.shapes.set(name, shape);
    return () => new Float32Array();
  }

  override stackedOf(
    layers: readonly { readonly name: string; readonly out: number }[],
    shape: Omit<LayerShape, "out">,
    bias?: () => Float32Array,
  ): Layer {
    const taps = shape.window === undefined ? [] : [shape.window, shape.window];
    for (const { name, out } of layers) this.shapes.set(`${name}.weight`, [out, shape.in, ...taps]);
    if (bias) bias();
    else if (shape.bias !== false) this.biases(layers);
    return UNREAD;
  }
}
