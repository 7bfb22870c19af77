/**
 * Group normalisation a step at a time in the texture backend: means, variances and values each pass through memory.
 * What the paper's table starts from, see {@link Optimizations.normalization}.
 * @module
 */
import type { GroupNormSpec, Launch } from "../backend.ts";
import { kernel, unroll } from "../kernel.ts";
import { columns, memoryOf, pixels, type Tensor } from "../tensor.ts";
import { elementwise } from "./elementwise.ts";
import { type Bundles, bundlesOf, GROUP_CHOICE, GROUP_TEXT, texelsPerIteration } from "./group_norm.ts";
import { addressing, addressSizes, readPort, textureLayout, writePort } from "./layout.ts";

/**
 * See {@link Backend.groupNormParts}.
 *
 * @throws {RangeError} as {@link bundlesOf} does.
 */
export function groupNormParts(spec: Omit<GroupNormSpec, "silu">): readonly Launch[] {
  const { x, out, affine, epsilon } = spec;
  const bundles = bundlesOf(x, spec.groups);
  const means = statistic(x, bundles, "means");
  const variances = statistic(x, bundles, "variances");
  const text = `${GROUP_CHOICE}
fn value(slice: i32, column: i32) -> vec4<f32> {
  let bundle = slice / size.slices;
  let sample = column / size.pixels;
  let owner = groups_of(slice % size.slices);
  let mean = by_channel(textureLoad(means, means_at(bundle, sample)), owner);
  let variance = by_channel(textureLoad(variances, variances_at(bundle, sample)), owner);
  let result = (textureLoad(x, x_at(slice, column)) - mean) * inverseSqrt(variance + size.epsilon)
    * textureLoad(affine, affine_at(slice, 0)) + textureLoad(affine, affine_at(slice, 1));
  return select(vec4<f32>(), result, column < size.columns);
}`;
  const numbers = {
    sizes: { pixels: pixels(x), group_size: bundles.size, slices: bundles.slices },
    values: { epsilon },
  };
  return [
    reduce(x, bundles, means),
    reduce(x, bundles, variances, means),
    elementwise("group norm values", { x, means, variances, affine }, out, text, numbers),
  ];
}

/** One value a group and sample: a texel for each bundle. */
function statistic(x: Tensor, { count }: Bundles, label: string): Tensor {
  const layout = textureLayout(4 * count, x.batch);
  return {
    batch: 1,
    channels: 4 * count,
    height: x.batch,
    width: 1,
    memory: { layout, label, kept: false },
    firstRow: 0,
  };
}

/** Means of `x` or, around `means`, its variances; a subgroup owns a bundle of one sample. */
function reduce(x: Tensor, { size, slices, count }: Bundles, out: Tensor, means?: Tensor): Launch {
  const reads = texelsPerIteration(pixels(x));
  const column = (i: number) => `column + ${i * 8}`;
  const names = ["x", "out", ...(means ? ["means"] : [])];
  const body = `
${names.map(addressing).join("\n")}
${GROUP_TEXT}
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_slice = i32(group.x) * size.slices;
  first_column = i32(group.y) * size.pixels;
  ${means ? "let mean = textureLoad(means, means_at(i32(group.x), i32(group.y)));" : "let mean = vec4<f32>();"}
  var sums = vec4<f32>();
  for (var s = 0; s < size.slices; s++) {
    let center = by_channel(mean, groups_of(s));
    var sum = vec4<f32>();
    for (var column = i32(lane); column < size.pixels; column += ${reads * 8}) {
      ${
    unroll(reads, (i) =>
      `let v${i} = select(vec4<f32>(), value(first_slice + s, ${column(i)}) - center, ${column(i)} < size.pixels);`)
  }
      sum += ${Array.from({ length: reads }, (_, i) => means ? `v${i} * v${i}` : `v${i}`).join(" + ")};
    }
    sums += by_group(sum, groups_of(s));
  }
  let result = over_lanes(sums) / f32(size.group_size * size.pixels);
  if (lane == 0u) { textureStore(out, out_at(i32(group.x), i32(group.y)), result); }
}`;
  return {
    kernel: kernel({
      name: `group norm ${out.memory.label} ${x.channels}x${pixels(x)}`,
      ports: [readPort("x", x), writePort("out"), ...(means ? [readPort("means", means)] : [])],
      sizes: {
        ...addressSizes("x", x),
        ...addressSizes("out", out),
        ...(means && addressSizes("means", means)),
        pixels: pixels(x),
        group_size: size,
        slices,
      },
      body,
      workgroups: [count, columns(out), 1],
    }),
    memory: memoryOf(x, out, ...(means ? [means] : [])),
  };
}
