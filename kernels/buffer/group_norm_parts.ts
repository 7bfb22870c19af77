/**
 * Group normalisation a step at a time in the buffer backend: means, variances and values each pass through memory.
 * What the paper's table starts from, see {@link Optimizations.normalization}.
 * @module
 */
import type { GroupNormSpec, Launch } from "../backend.ts";
import { kernel, unroll } from "../kernel.ts";
import { memoryOf, pixels, type Tensor } from "../tensor.ts";
import { elementwise } from "./elementwise.ts";
import { GROUP_TEXT, groupSize } from "./group_norm.ts";
import { access, addressSizes, bufferLayout, port, sampleColumns } from "./layout.ts";
import { reductions } from "./reduction.ts";

const THREADS = 256;

/** Quads a thread has on their way at once. */
const READS = 4;

/**
 * See {@link Backend.groupNormParts}.
 *
 * @throws {RangeError} as {@link groupSize} does.
 */
export function groupNormParts(spec: Omit<GroupNormSpec, "silu">): readonly Launch[] {
  const { x, out, affine, groups, epsilon } = spec;
  const size = groupSize(x, groups);
  const [means, variances] = ["means", "variances"].map((label): Tensor => ({
    batch: x.batch,
    channels: groups,
    height: 1,
    width: 1,
    memory: { layout: bufferLayout(groups, x.batch, 1), label, kept: false },
    firstRow: 0,
  })) as [Tensor, Tensor];
  const text = `
fn value(row: i32, quad: i32) -> vec4<f32> {
  let group = row / size.group_size;
  let sample = quad / size.x_sample;
  let scale = inverseSqrt(variances_load(group, sample).x + size.epsilon);
  let parameters = affine_load(row, 0);
  return (x_load(row, quad) - means_load(group, sample).x) * (scale * parameters.x) + parameters.y;
}`;
  return [
    reduce(x, size, means),
    reduce(x, size, variances, means),
    elementwise("group norm values", { x, means, variances, affine }, out, text, {
      sizes: { group_size: size },
      values: { epsilon },
    }),
  ];
}

/** Means of `x` or, around `means`, its variances; a workgroup owns one group of one sample. */
function reduce(x: Tensor, size: number, out: Tensor, means?: Tensor): Launch {
  const terms = Array.from({ length: READS }, (_, i) => means ? `v${i} * v${i}` : `v${i}`).join(" + ");
  const body = `
${access("x", x)}
${access("out", out, "read_write")}
${means ? access("means", means) : ""}
${reductions({ threads: THREADS, lanes: 1, type: "f32" }, { total: "a + b" })}
${GROUP_TEXT}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  let sample = i32(group.y);
  first_row = i32(group.x) * size.group_size;
  first_quad = sample * size.x_sample;
  let center = ${means ? "means_load(i32(group.x), sample)" : "vec4<f32>()"};
  var sum = vec4<f32>();
  for (var first = t; first < size.quads; first += ${READS * THREADS}) {
    ${unroll(READS, (i) => `let i${i} = first + ${i * THREADS}; let v${i} = known(i${i}, value(i${i}) - center);`)}
    sum += ${terms};
  }
  let result = total(dot(sum, vec4<f32>(1.0)), t) / (f32(size.group_size) * f32(size.pixels));
  if (t == 0) { out_store(i32(group.x), sample, vec4<f32>(result)); }
}`;
  return {
    kernel: kernel({
      name: `group norm ${out.memory.label} ${x.channels}x${pixels(x)}`,
      ports: [port("x", x), port("out", out, "read_write"), ...(means ? [port("means", means)] : [])],
      sizes: {
        ...addressSizes("x", x),
        ...addressSizes("out", out),
        ...(means && addressSizes("means", means)),
        group_size: size,
        pixels: pixels(x),
        quads: size * sampleColumns(pixels(x)) / 4,
      },
      body,
      workgroups: [out.channels, x.batch, 1],
    }),
    memory: memoryOf(x, out, ...(means ? [means] : [])),
  };
}
