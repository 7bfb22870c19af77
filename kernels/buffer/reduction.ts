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

/** Values that a thread joins at each level of the tree: a barrier costs more than a few more reads. */
const FAN = 8;

/**
 * WGSL `NAME(value, t) -> type` for every operation `NAME: expression in a and b`. Every thread of the workgroup must
 * call it and is given the result of its lane. All functions share one array.
 */
export function reductions(shape: Reduction, operations: Readonly<Record<string, string>>): string {
  const { threads, lanes, type } = shape;
  const levels: string[] = [];
  for (let left = threads; left > lanes;) {
    const fan = Math.min(FAN, left / lanes);
    left /= fan;
    const joined = Array.from({ length: fan }, (_, i) => `shared_values[t + ${i * left}]`)
      .reduce((a, b) => `NAME_of(${a}, ${b})`);
    levels.push(`  if (t < ${left}) { shared_values[t] = ${joined}; }
  workgroupBarrier();`);
  }
  const text = (expression: string) =>
    `fn NAME_of(a: ${type}, b: ${type}) -> ${type} { return ${expression}; }
fn NAME(value: ${type}, t: i32) -> ${type} {
  shared_values[t] = value;
  workgroupBarrier();
${unroll(levels.length, (i) => levels[i]!)}
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
