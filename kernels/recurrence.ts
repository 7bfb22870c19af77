/**
 * A linear recurrence on the GPU: a recorded step is replayed without a write from the host, since each step's
 * coefficients lie in a table and the running step in a counter.
 * @module
 */
import type { Backend } from "./backend.ts";
import { extentOf } from "./elementwise.ts";
import { unroll } from "./kernel.ts";
import { bufferOperand, type Launch, launch } from "./launch.ts";
import { bytesOf, type Memory, pixels, type Tensor } from "./tensor.ts";

/**
 * One step: every state becomes a combination of all states, of `x` and of the noise; then state 0, scaled, goes to
 * `out`. Buffers are `f32`, and each value in them is `[channels, height x width]` as {@link Backend.encode} lays it out.
 */
export interface RecurrenceSpec {
  /** `[1 or 2, channels, height, width]`; of two samples the mix `first + mix (second - first)`. */
  readonly x: Tensor;
  /** Shaped like `x`: every sample is the same. */
  readonly out: Tensor;
  readonly states: Memory;
  readonly count: number;
  readonly noise: Memory;
  readonly table: Memory;
  /** One `u32`, advanced by {@link advance} when the step has ended. */
  readonly step: Memory;
  /**
   * A mask and two values: where the mask is 0, state 0 becomes a combination of the two instead, and where it is
   * between 0 and 1 a mix.
   */
  readonly masked?: Memory;
  /** One `f32`, the factor of the mix that {@link spreadFactor} computes before it. */
  readonly factor?: Memory;
}

export interface RecurrenceStep {
  /** Factor of state 0 in `out`. */
  readonly scale: number;
  readonly mix: number;
  /** For each state the factors of the old states, of `x` and of the noise. */
  readonly transition: readonly (readonly number[])[];
  /** For {@link RecurrenceSpec.masked}, the factors of its two values. */
  readonly masked?: readonly [number, number];
  /** For {@link RecurrenceSpec.factor}, how far the mix gets the spread of the second sample: 0 to 1. */
  readonly spread?: number;
}

/** What decides how many numbers a step has in its {@link recurrenceTable}. */
export interface RecurrenceShape {
  readonly count: number;
  readonly masked: boolean;
  readonly spread: boolean;
}

/** The table that the kernel reads: a row of numbers a step. */
export function recurrenceTable(steps: readonly RecurrenceStep[]): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    steps.flatMap(({ scale, mix, transition, masked = [], spread = [] }) =>
      [scale, mix, ...transition.flat(), ...masked, spread].flat()
    ),
  );
}

export function recurrenceNumbers({ count, masked, spread }: RecurrenceShape): number {
  return 2 + count * (count + 2) + (masked ? 2 : 0) + (spread ? 1 : 0);
}

const LANES = 64;

/** A lane owns one vector of all values. */
export function recurrence(backend: Backend, spec: RecurrenceSpec): Launch {
  const { x, out, count, masked, factor } = spec;
  const { rows, columns } = extentOf(backend, x);
  const layout = backend.layout(x.channels, 1, pixels(x), true);
  const mixed = x.batch === 2;
  const at = (i: number) => `table[first + ${i}]`;
  const newState = (state: number) => {
    const row = 2 + state * (count + 2);
    const terms = Array.from({ length: count }, (_, i) => `${at(row + i)} * old${i}`);
    const sum = `${terms.join(" + ")} + ${at(row + count)} * input + ${at(row + count + 1)} * noise[index]`;
    if (state > 0 || !masked) return sum;
    const factor = 2 + count * (count + 2);
    const other = `${at(factor)} * masked[size.length + index] + ${at(factor + 1)} * masked[2 * size.length + index]`;
    return `mix(${other}, ${sum}, masked[index])`;
  };
  return launch({
    name: "recurrence",
    operands: [
      backend.vectors.reading({ x }),
      backend.vectors.writing({ out }),
      bufferOperand("states", spec.states, "vec4<f32>", "read_write"),
      bufferOperand("noise", spec.noise, "vec4<f32>"),
      bufferOperand("table", spec.table, "f32"),
      bufferOperand("step", spec.step, "u32"),
      ...(masked ? [bufferOperand("masked", masked, "vec4<f32>")] : []),
      ...(factor ? [bufferOperand("factor", factor, "f32")] : []),
    ],
    sizes: {
      columns,
      pitch: bytesOf(layout) / 16 / rows,
      length: bytesOf(layout) / 16,
      numbers: recurrenceNumbers({ count, masked: masked !== undefined, spread: factor !== undefined }),
    },
    body: `
@compute @workgroup_size(${LANES})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = i32(id.x);
  let row = i32(id.y);
  if (column >= size.columns) { return; }
  let index = row * size.pitch + column;
  let first = i32(step[0]) * size.numbers;
  ${
      mixed
        ? `let x0 = x_load(row, column);
  let input = ${factor ? "factor[0] * " : ""}(x0 + ${at(1)} * (x_load(row, size.columns + column) - x0));`
        : "let input = x_load(row, column);"
    }
  ${unroll(count, (i) => `let old${i} = states[${i} * size.length + index];`)}
  ${unroll(count, (i) => `let new${i} = ${newState(i)};\n  states[${i} * size.length + index] = new${i};`)}
  out_store(out_at(row, column), new0 * ${at(0)});
  ${mixed ? `out_store(out_at(row, size.columns + column), new0 * ${at(0)});` : ""}
}`,
    workgroups: [Math.ceil(columns / LANES), rows, 1],
  });
}

/**
 * What the mix of two samples is multiplied by before it goes on: `1 + spread (s / t - 1)`, `s` and `t` being the
 * standard deviations of the second sample and of the mix (arXiv 2305.08891, equations 15 and 16). One workgroup reads
 * both samples twice: for the means, then for the variances.
 */
export function spreadFactor(
  backend: Backend,
  { x, factor, table, step, shape }: Pick<RecurrenceSpec, "x" | "table" | "step"> & {
    readonly factor: Memory;
    readonly shape: RecurrenceShape;
  },
): Launch {
  const { rows, columns } = extentOf(backend, x);
  const { vectors } = backend;
  const { lanes, text } = vectors.sums;
  const four = "vec4<i32>(0, 1, 2, 3)";
  const known = vectors.rows === 4
    ? `vec4<i32>(row * 4) + ${four} < vec4<i32>(size.channels)`
    : `vec4<i32>(column * 4) + ${four} < vec4<i32>(size.pixels)`;
  /** Sums over both samples; \`each\` is a value of a lane, and pads count as 0. */
  const sum = (name: string, each: string) => `
  var ${name}_lane = vec4<f32>();
  for (var i = lane; i < size.rows * size.columns; i += ${lanes}) {
    let row = i / size.columns;
    let column = i % size.columns;
    let x0 = x_load(row, column);
    let second = x_load(row, size.columns + column);
    let mixed = x0 + table[first + 1] * (second - x0);
    let known = ${known};
    ${name}_lane += vec4<f32>(total(${each.replace("V", "second").replace("M", "x")}, known), total(${
    each.replace("V", "mixed").replace("M", "y")
  }, known), 0.0, 0.0);
  }
  let ${name} = over_lanes(${name}_lane, lane).xy;`;
  return launch({
    name: "spread factor",
    operands: [
      vectors.reading({ x }),
      bufferOperand("factor", factor, "f32", "read_write"),
      bufferOperand("table", table, "f32"),
      bufferOperand("step", step, "u32"),
    ],
    sizes: {
      rows,
      columns,
      channels: x.channels,
      pixels: pixels(x),
      numbers: recurrenceNumbers(shape),
    },
    body: `
${text}
fn total(v: vec4<f32>, known: vec4<bool>) -> f32 { return dot(select(vec4<f32>(), v, known), vec4<f32>(1.0)); }
fn squared(v: vec4<f32>) -> vec4<f32> { return v * v; }
@compute @workgroup_size(${lanes})
fn main(@builtin(local_invocation_index) index: u32) {
  let lane = i32(index);
  let first = i32(step[0]) * size.numbers;
  ${sum("sums", "V")}
  let means = sums / f32(size.channels * size.pixels);
  ${sum("squares", "squared(V - means.M)")}
  if (lane == 0) {
    factor[0] = 1.0 + table[first + size.numbers - 1] * (sqrt(squares.x / squares.y) - 1.0);
  }
}`,
    workgroups: [1, 1, 1],
  });
}

/** Adds 1 to the `u32` in `step`. A launch of its own, because every lane of the launch before reads it. */
export function advance(step: Memory): Launch {
  return launch({
    name: "advance",
    operands: [bufferOperand("step", step, "u32", "read_write")],
    sizes: { by: 1 },
    body: `
@compute @workgroup_size(1)
fn main() { step[0] = step[0] + u32(size.by); }`,
    workgroups: [1, 1, 1],
  });
}
