/**
 * What LoRAs do to a tensor, by definition and in single precision: low-rank products (arXiv 2106.09685), those with a
 * kernel between them (LoCon), Hadamard and Kronecker products (arXiv 2309.14859), weights taken apart into magnitude
 * and direction (DoRA, arXiv 2402.09353), and plain differences.
 * @module
 */
import { ModelFileError } from "./errors.ts";
import { shown } from "./json.ts";
import { LIMITS } from "./limits.ts";
import type { Role } from "./lora_names.ts";
import type { TensorInfo } from "./tensor_source.ts";

type Floats = Float32Array<ArrayBuffer>;

/** The values of one of a LoRA's tensors, by its name. */
export type ReadTensor = (name: string) => Floats;

/** What happens to a tensor. */
export interface Change {
  /** Changes its values in place, as much as `weight` says. */
  apply(values: Floats, weight: number, read: ReadTensor): void;
  /** The rank, where nothing happens but that the product of {@link factors} is added. */
  readonly rank?: number;
  /** `up [out, rank]`, which holds all scales, and `down [rank, in, taps]`. */
  factors?(weight: number, read: ReadTensor): { readonly up: Floats; readonly down: Floats };
}

/** A LoRA's tensors for one layer of a model. */
export interface Group {
  /** The LoRA's file. */
  readonly label: string;
  /** What the layer is called there. */
  readonly module: string;
  readonly tensors: ReadonlyMap<Role, TensorInfo>;
  /** What divides by the rank where the group has no alpha of its own; absent, nothing does. */
  readonly scale?: (rank: number) => number;
}

/** `[rows, columns]`, or with more dimensions as many columns as the rest has elements. */
interface Matrix {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly shape: readonly number[];
}

/** A difference that is still to be computed, and by which rank its alpha is divided; none: it has no scale. */
interface Difference {
  readonly rank?: number;
  /** The factors, where it is a product of two matrices. */
  readonly matrices?: readonly [up: string, down: string];
  readonly compute: (read: ReadTensor) => Floats;
}

/**
 * The change of a layer's weights, `target`, by a group of a LoRA's tensors, all of whose shapes are checked; none is read.
 * @throws {ModelFileError} tensors are missing, of no known kind together, or do not fit the model
 */
export function planWeights(group: Group, target: TensorInfo): Change {
  const shape = shapeOf(target);
  const layer = new Layer(group, shape, target);
  const kinds = [
    layer.has("down", "up", "mid") && lowRank(layer),
    layer.has("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2") && hadamard(layer),
    layer.has("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2") && kronecker(layer),
    layer.has("diff") && plain(layer),
  ].filter((kind) => kind !== false);
  const [kind, ...others] = kinds;
  if (kind === undefined) return layer.fail("has a scale, and nothing that it could scale");
  if (others.length > 0) layer.fail("has tensors of more than one kind");
  const { rank, matrices, compute } = kind;
  const alpha = rank === undefined ? undefined : layer.scalar("alpha");
  const scaleOf = (read: ReadTensor) => {
    if (rank === undefined) return 1;
    if (alpha === undefined) return group.scale?.(rank) ?? 1;
    const value = read(alpha.name)[0]!;
    return Number.isFinite(value) ? value / rank : layer.fail(`has the alpha ${value}`);
  };
  const magnitude = layer.magnitude();
  const apply: Change["apply"] = (values, weight, read) => {
    const difference = compute(read);
    const scale = scaleOf(read);
    if (magnitude) decompose({ values, difference, scale, weight, shape, ...magnitude }, read(magnitude.name));
    else for (let i = 0; i < values.length; i++) values[i]! += weight * scale * difference[i]!;
  };
  if (rank === undefined || matrices === undefined || magnitude) return { apply };
  const [up, down] = matrices;
  return {
    apply,
    rank,
    factors(weight, read) {
      const scale = weight * scaleOf(read);
      const scaled = read(up);
      for (let i = 0; i < scaled.length; i++) scaled[i]! *= scale;
      return { up: scaled, down: read(down) };
    },
  };
}

/**
 * The change of a bias, `target`.
 * @throws {ModelFileError} it does not fit the model
 */
export function planBias(group: Group, target: TensorInfo): Change {
  const { name } = new Layer(group, shapeOf(target), target).like("diff_b");
  return {
    apply(values, weight, read) {
      const difference = read(name);
      for (let i = 0; i < values.length; i++) values[i]! += weight * difference[i]!;
    },
  };
}

interface Shape {
  readonly out: number;
  readonly in: number;
  /** Elements of the window. */
  readonly taps: number;
}

function shapeOf({ shape: [out = 1, inputs = 1, ...window] }: TensorInfo): Shape {
  return { out, in: inputs, taps: product(window) };
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((a, b) => a * b, 1);
}

/** A group seen as what its layer needs: whatever does not fit is refused by name. */
class Layer {
  readonly group: Group;
  readonly shape: Shape;
  readonly target: TensorInfo;

  constructor(group: Group, shape: Shape, target: TensorInfo) {
    this.group = group;
    this.shape = shape;
    this.target = target;
  }

  has(...roles: readonly Role[]): boolean {
    return roles.some((role) => this.group.tensors.has(role));
  }

  fail(problem: string): never {
    throw new ModelFileError(this.group.label, `the layer ${shown(this.group.module)} ${problem}`);
  }

  /** What `role` holds, with the numbers of rows and columns that the others leave it; undefined ones are free. */
  matrix(role: Role, rows?: number, columns?: number): Matrix {
    const info = this.group.tensors.get(role) ?? this.fail(`has no ${role}`);
    const { name, shape } = info;
    const [first = 1, ...rest] = shape;
    const found = { name, rows: first, columns: product(rest), shape };
    if ((rows ?? found.rows) === found.rows && (columns ?? found.columns) === found.columns) return found;
    const wanted = [rows ?? "any", columns ?? "any"].join(", ");
    return this.#misfit(info, `[${wanted}]`);
  }

  /** {@link matrix} that has the rank on one of its sides. */
  factor(role: Role, sides: { readonly rows?: number; readonly columns?: number }): Matrix {
    const found = this.matrix(role, sides.rows, sides.columns);
    const rank = sides.rows === undefined ? found.rows : found.columns;
    if (rank >= 1 && rank <= LIMITS.rank) return found;
    return this.fail(`is of rank ${rank}; ranks from 1 to ${LIMITS.rank} are read`);
  }

  /** A tensor as long as the target. */
  like(role: Role): Matrix {
    const { out, in: inputs, taps } = this.shape;
    return this.matrix(role, out, inputs * taps);
  }

  scalar(role: Role): TensorInfo | undefined {
    const info = this.group.tensors.get(role);
    return info === undefined || product(info.shape) === 1 ? info : this.#misfit(info, "one number");
  }

  /** Lengths of the rows of the weights, or, as LyCORIS first had it, of their columns. */
  magnitude(): { readonly name: string; readonly of: "rows" | "columns" } | undefined {
    const { out, in: inputs } = this.shape;
    const role = this.has("magnitude") ? "magnitude" : "dora_scale";
    const info = this.group.tensors.get(role);
    if (info === undefined) return undefined;
    const { name, shape } = info;
    const count = product(shape);
    if (count === out && (role === "magnitude" || shape[0] === out)) return { name, of: "rows" };
    if (count === inputs && shape[0] === 1) return { name, of: "columns" };
    return this.#misfit(info, `[${out}, 1]`);
  }

  #misfit({ name, shape }: TensorInfo, wanted: string): never {
    throw new ModelFileError(
      this.group.label,
      `tensor ${shown(name)} is [${shape.join(", ")}], and ${wanted} fits the model's ${this.target.name} ` +
        `[${this.target.shape.join(", ")}]: this is a LoRA for another model, or damaged`,
    );
  }
}

function plain(layer: Layer): Difference {
  const { name } = layer.like("diff");
  return { compute: (read) => read(name) };
}

function lowRank(layer: Layer): Difference {
  const { out, in: inputs, taps } = layer.shape;
  if (layer.has("mid")) {
    const up = layer.factor("up", { rows: out });
    const down = layer.factor("down", { columns: inputs });
    const mid = layer.matrix("mid", up.columns, down.rows * taps);
    return { rank: down.rows, compute: tucker({ kernel: mid, left: up, right: down, taps }) };
  }
  const down = layer.factor("down", { columns: inputs * taps });
  const up = layer.matrix("up", out, down.rows);
  return {
    rank: down.rows,
    matrices: [up.name, down.name],
    compute: (read) => multiply(read(up.name), read(down.name), up, down.columns),
  };
}

function hadamard(layer: Layer): Difference {
  const { out, in: inputs, taps } = layer.shape;
  const [first, second] = ([1, 2] as const).map((number) => {
    const [a, b, t] = [`hada_w${number}_a`, `hada_w${number}_b`, `hada_t${number}`] as const;
    if (layer.has(t)) {
      const left = layer.factor(a, { columns: out });
      const right = layer.factor(b, { columns: inputs });
      const kernel = layer.matrix(t, left.rows, right.rows * taps);
      return { rank: right.rows, compute: tucker({ kernel, left, right, taps, turned: true }) };
    }
    const right = layer.factor(b, { columns: inputs * taps });
    const left = layer.matrix(a, out, right.rows);
    return {
      rank: right.rows,
      compute: (read: ReadTensor) => multiply(read(left.name), read(right.name), left, right.columns),
    };
  }) as [Difference, Difference];
  return {
    ...first,
    compute(read) {
      const values = first.compute(read);
      const others = second.compute(read);
      for (let i = 0; i < values.length; i++) values[i]! *= others[i]!;
      return values;
    },
  };
}

/** One of the two factors of a Kronecker product, itself perhaps a product. */
interface Block extends Difference {
  readonly rows: number;
  /** Columns times taps. */
  readonly columns: number;
}

function kronecker(layer: Layer): Difference {
  const { out, in: inputs, taps } = layer.shape;
  const small = kroneckerBlock(layer, "lokr_w1", 1);
  const large = kroneckerBlock(layer, "lokr_w2", taps);
  const fits = small.rows * large.rows === out && small.columns * large.columns === inputs * taps;
  if (!fits) {
    const sizes = [small, large].map(({ rows, columns }) => `${rows}x${columns}`).join(" and ");
    layer.fail(`has Kronecker factors of ${sizes}, which do not make ${out}x${inputs * taps}`);
  }
  const rank = large.rank ?? small.rank;
  return {
    ...(rank !== undefined && { rank }),
    compute(read) {
      const [a, b] = [small.compute(read), large.compute(read)];
      const values = new Float32Array(out * inputs * taps);
      const width = inputs * taps;
      for (let i = 0; i < out; i++) {
        const row = Math.floor(i / large.rows) * small.columns;
        const from = (i % large.rows) * large.columns;
        for (let j = 0; j < small.columns; j++) {
          const factor = a[row + j]!;
          const at = i * width + j * large.columns;
          for (let k = 0; k < large.columns; k++) values[at + k] = factor * b[from + k]!;
        }
      }
      return values;
    },
  };
}

function kroneckerBlock(layer: Layer, role: "lokr_w1" | "lokr_w2", taps: number): Block {
  if (layer.has(role)) {
    const { name, rows, columns } = layer.matrix(role);
    return { rows, columns, compute: (read) => read(name) };
  }
  const right = layer.factor(`${role}_b`, {});
  if (role === "lokr_w2" && layer.has("lokr_t2")) {
    const left = layer.factor("lokr_w2_a", {});
    const kernel = layer.matrix("lokr_t2", left.rows, right.rows * taps);
    const compute = tucker({ kernel, left, right, taps, turned: true });
    return { rows: left.columns, columns: right.columns * taps, rank: right.rows, compute };
  }
  const left = layer.matrix(`${role}_a`, undefined, right.rows);
  return {
    rows: left.rows,
    columns: right.columns,
    rank: right.rows,
    compute: (read) => multiply(read(left.name), read(right.name), left, right.columns),
  };
}

/** `a [rows, columns]` times `b [columns, width]`. */
function multiply(a: Floats, b: Floats, { rows, columns }: Pick<Matrix, "rows" | "columns">, width: number): Floats {
  const out = new Float32Array(rows * width);
  for (let i = 0; i < rows; i++) {
    const row = out.subarray(i * width, (i + 1) * width);
    let k = 0;
    // Four at once: a third of the time of one by one.
    for (; k + 4 <= columns; k += 4) {
      const [p, q, r, s] = [
        a[i * columns + k]!,
        a[i * columns + k + 1]!,
        a[i * columns + k + 2]!,
        a[i * columns + k + 3]!,
      ];
      const [from, second, third, fourth] = [k * width, (k + 1) * width, (k + 2) * width, (k + 3) * width];
      for (let j = 0; j < width; j++) {
        row[j]! += p * b[from + j]! + q * b[second + j]! + r * b[third + j]! + s * b[fourth + j]!;
      }
    }
    for (; k < columns; k++) {
      const factor = a[i * columns + k]!;
      const from = k * width;
      for (let j = 0; j < width; j++) row[j]! += factor * b[from + j]!;
    }
  }
  return out;
}

/** `sum over m, n of left[o, m] kernel[m, n, tap] right[n, i]` as `[o, i, tap]`; `turned`, left is `[m, o]`. */
function tucker({ kernel, left, right, taps, turned = false }: {
  readonly kernel: Matrix;
  readonly left: Matrix;
  readonly right: Matrix;
  readonly taps: number;
  readonly turned?: boolean;
}): Difference["compute"] {
  const [m, n, inputs] = [kernel.rows, right.rows, right.columns];
  return (read) => {
    const [k, b] = [read(kernel.name), read(right.name)];
    const inner = new Float32Array(m * inputs * taps);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        for (let c = 0; c < inputs; c++) {
          const factor = b[j * inputs + c]!;
          const at = (i * inputs + c) * taps;
          for (let tap = 0; tap < taps; tap++) inner[at + tap]! += k[(i * n + j) * taps + tap]! * factor;
        }
      }
    }
    const a = turned ? transposed(read(left.name), left) : read(left.name);
    const out = turned ? left.columns : left.rows;
    return multiply(a, inner, { rows: out, columns: m }, inputs * taps);
  };
}

function transposed(values: Floats, { rows, columns }: Matrix): Floats {
  return Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
}

/** `W + weight (m (W + d) / |W + d| - W)` with lengths over each row, or each column, of W. */
function decompose(
  { values, difference, scale, weight, shape: { out, in: inputs, taps }, of }: {
    readonly values: Floats;
    readonly difference: Floats;
    readonly scale: number;
    readonly weight: number;
    readonly shape: Shape;
    readonly of: "rows" | "columns";
  },
  magnitude: Floats,
): void {
  const lengths = new Float64Array(of === "rows" ? out : inputs);
  const each = (visit: (at: number, line: number) => void) => {
    for (let o = 0, at = 0; o < out; o++) {
      for (let i = 0; i < inputs; i++) {
        for (let tap = 0; tap < taps; tap++) visit(at++, of === "rows" ? o : i);
      }
    }
  };
  each((at, line) => lengths[line]! += (values[at]! + scale * difference[at]!) ** 2);
  // A line of zeros has no direction, and stays.
  const factors = lengths.map((sum, line) => sum === 0 ? 0 : magnitude[line]! / Math.sqrt(sum));
  each((at, line) => {
    const moved = (values[at]! + scale * difference[at]!) * factors[line]!;
    values[at]! += weight * (moved - values[at]!);
  });
}
