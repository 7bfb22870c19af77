/**
 * Group normalisation in one shader without intermediate tensors (arXiv 2304.11267 section 3.1), with SiLU.
 *
 * One workgroup owns one group of one sample and reads it three times, the second and third time mostly from cache.
 * @module
 */
import { activationFunction } from "../activations.ts";
import type { GroupNormSpec, Launch } from "../backend.ts";
import { kernel, unroll } from "../kernel.ts";
import { memoryOf, pixels, type Tensor } from "../tensor.ts";
import { access, addressSizes, port, sampleColumns } from "./layout.ts";
import { reductions } from "./reduction.ts";

/** Quads a thread has on their way at once: with few groups a workgroup has a multiprocessor to itself. */
const READS = 4;

/** Threads of a workgroup that every adapter of this backend offers, as far as it has not said otherwise. */
const WORKGROUP_THREADS = 1024;

/** More threads only where each has a full turn of the loop. */
function threadsFor(quads: number, limit: number): number {
  return quads >= READS * 1024 && limit >= 1024 ? 1024 : 256;
}

/** How a workgroup reads the group that starts at `first_row` and `first_quad`. */
export const GROUP_TEXT = `
var<private> first_row: i32;
var<private> first_quad: i32;
/** Quad \`i\` of the group; past its end the last one again. */
fn value(i: i32) -> vec4<f32> {
  let at = min(i, size.quads - 1);
  return x_load(first_row + at / size.x_sample, first_quad + at % size.x_sample);
}
/** \`v\` with zeros for the columns of quad \`i\` that are not pixels of the group. */
fn known(i: i32, v: vec4<f32>) -> vec4<f32> {
  let pixel = vec4<i32>(i % size.x_sample * 4) + vec4<i32>(0, 1, 2, 3);
  return select(vec4<f32>(), v, pixel < vec4<i32>(select(0, size.pixels, i < size.quads)));
}`;

/** WGSL that normalises quad `i` of the group by `mean` and `scale` and stores it in `sample`, a WGSL expression. */
export function storeText(i: number, { sample, silu }: { readonly sample: string; readonly silu: boolean }): string {
  return `if (i${i} < size.quads) {
  let row = first_row + i${i} / size.x_sample;
  let parameters = affine_load(row, 0);
  let result = (v${i} - mean) * (scale * parameters.x) + parameters.y;
  out_store(row, ${sample} * size.out_sample + i${i} % size.x_sample, ${silu ? "silu(result)" : "result"});
}`;
}

/**
 * Channels of a group.
 *
 * @throws {RangeError} when the channels are not a multiple of the groups.
 */
export function groupSize(x: Tensor, groups: number): number {
  const size = x.channels / groups;
  if (Number.isInteger(size)) return size;
  throw new RangeError(`${x.channels} channels cannot be normalised in ${groups} groups`);
}

/**
 * See {@link Backend.groupNorm}. Two-pass variance.
 *
 * @throws {RangeError} when the channels are not a multiple of the groups.
 */
export function groupNorm(spec: GroupNormSpec, limit = WORKGROUP_THREADS): Launch {
  const { x, out, affine, groups, epsilon, silu } = spec;
  const size = groupSize(x, groups);
  const quads = size * sampleColumns(pixels(x)) / 4;
  const threads = threadsFor(quads, limit);
  const terms = (term: (i: number) => string) => Array.from({ length: READS }, (_, i) => term(i)).join(" + ");
  const eachQuad = (text: string) =>
    `for (var first = t; first < size.quads; first += ${READS * threads}) {\n${text}\n}`;
  const loads = unroll(READS, (i) => `let i${i} = first + ${i * threads}; let v${i} = value(i${i});`);
  const body = `
${access("x", x)}
${access("out", out, "read_write")}
${access("affine", affine)}
${reductions({ threads, lanes: 1, type: "f32" }, { total: "a + b" })}
${activationFunction(silu ? "silu" : "none", "vec4<f32>")}
${GROUP_TEXT}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  first_row = i32(group.x) * size.group_size;
  first_quad = i32(group.y) * size.x_sample;
  let count = f32(size.group_size) * f32(size.pixels);
  var sum = vec4<f32>();
  ${eachQuad(`${loads}\nsum += ${terms((i) => `known(i${i}, v${i})`)};`)}
  let mean = total(dot(sum, vec4<f32>(1.0)), t) / count;
  var squares = vec4<f32>();
  ${
    eachQuad(`${loads}
${unroll(READS, (i) => `let d${i} = known(i${i}, v${i} - mean);`)}
squares += ${terms((i) => `d${i} * d${i}`)};`)
  }
  let scale = inverseSqrt(total(dot(squares, vec4<f32>(1.0)), t) / count + size.epsilon);
  ${
    eachQuad(`${loads}
${unroll(READS, (i) => storeText(i, { sample: "i32(group.y)", silu }))}`)
  }
}`;
  return {
    kernel: kernel({
      name: `group norm ${x.channels}x${pixels(x)}`,
      ports: [port("x", x), port("out", out, "read_write"), port("affine", affine)],
      sizes: {
        ...addressSizes("x", x),
        ...addressSizes("out", out),
        ...addressSizes("affine", affine),
        group_size: size,
        pixels: pixels(x),
        quads,
      },
      values: { epsilon },
      body,
      workgroups: [groups, x.batch, 1],
    }),
    memory: memoryOf(x, out, affine),
  };
}
