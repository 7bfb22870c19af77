/**
 * Sums and maxima over the threads of a workgroup, by a tree in workgroup memory: the same bits in every run.
 * @module
 */
import { unroll } from "../kernel.ts";

/** Who reduces what: threads `t` with equal `t % lanes` together, one value of WGSL type `type` each. */
export interface Reduction {
  /** A power of two. */
  readonly threads: number;
  /** A power of two. */
  readonly lanes: number;
  /** Such as `vec4<f32>`. */
  readonly type: string;
}

/**
 * WGSL `NAME(value, t) -> type` for every operation `NAME: expression in a and b`. Every thread of the workgroup must
 * call it and is given the result of its lane. All functions share one array.
 */
export function reductions(shape: Reduction, operations: Readonly<Record<string, string>>): string {
  const { threads, lanes, type } = shape;
  const levels = Math.log2(threads / lanes);
  const level = (i: number) => {
    const half = threads >> (i + 1);
    return `  if (t < ${half}) { shared_values[t] = NAME_of(shared_values[t], shared_values[t + ${half}]); }
  workgroupBarrier();`;
  };
  const text = (expression: string) =>
    `fn NAME_of(a: ${type}, b: ${type}) -> ${type} { return ${expression}; }
fn NAME(value: ${type}, t: i32) -> ${type} {
  shared_values[t] = value;
  workgroupBarrier();
${unroll(levels, level)}
  let result = shared_values[t % ${lanes}];
  // The next reduction must not overwrite what a slower thread has yet to read.
  workgroupBarrier();
  return result;
}`;
  return [
    `var<workgroup> shared_values: array<${type}, ${threads}>;`,
    ...Object.entries(operations).map(([name, expression]) => text(expression).replaceAll("NAME", name)),
  ].join("\n");
}
