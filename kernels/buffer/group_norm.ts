/**
 * Group normalisation in one shader without intermediate tensors (arXiv 2304.11267 section 3.1), with SiLU.
 *
 * One workgroup owns one group of one sample and reads it three times, the second and third time mostly from cache.
 * @module
 */
import type { GroupNormSpec } from "../backend.ts";
import { activationFunction } from "../elementwise.ts";
import { unroll } from "../kernel.ts";
import { bufferOperand, type Launch, launch } from "../launch.ts";
import { type Memory, pixels } from "../tensor.ts";
import { reading, sampleColumns, writing } from "./layout.ts";
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
const GROUP_TEXT = `
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
function storeText(i: number, { sample, silu }: { readonly sample: string; readonly silu: boolean }): string {
  return `if (i${i} < size.quads) {
  let row = first_row + i${i} / size.x_sample;
  let parameters = affine_load(row, 0);
  let result = (v${i} - mean) * (scale * parameters.x) + parameters.y;
  out_store(out_at(row, ${sample} * size.out_sample + i${i} % size.x_sample), ${silu ? "silu(result)" : "result"});
}`;
}

/** Sizes of a normalisation: channels of a group, pixels, and quads of a group. */
function groupSizes({ x, groups }: GroupNormSpec) {
  const size = x.channels / groups;
  if (!Number.isInteger(size)) throw new RangeError(`${x.channels} channels cannot be normalised in ${groups} groups`);
  return { group_size: size, pixels: pixels(x), quads: size * sampleColumns(pixels(x)) / 4 };
}

/**
 * See {@link Backend.groupNorm}. Two-pass variance.
 *
 * @throws {RangeError} when the channels are not a multiple of the groups.
 */
export function groupNorm(spec: GroupNormSpec, limit = WORKGROUP_THREADS): Launch {
  const { x, out, affine, groups, epsilon, silu } = spec;
  const sizes = groupSizes(spec);
  const threads = threadsFor(sizes.quads, limit);
  const terms = (term: (i: number) => string) => Array.from({ length: READS }, (_, i) => term(i)).join(" + ");
  const eachQuad = (text: string) =>
    `for (var first = t; first < size.quads; first += ${READS * threads}) {\n${text}\n}`;
  const loads = unroll(READS, (i) => `let i${i} = first + ${i * threads}; let v${i} = value(i${i});`);
  const body = `
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
  return launch({
    name: `group norm ${x.channels}x${pixels(x)}`,
    operands: [reading({ x, affine }), writing({ out })],
    sizes,
    values: { epsilon },
    body,
    workgroups: [groups, x.batch, 1],
  });
}

const CHUNK_THREADS = 256;

const CHUNK = CHUNK_THREADS * READS;

/** Chunks of a group from which two launches are faster than one (H100). */
const LEAST_CHUNKS = 3;

/** Chunks of each group. */
function chunksOf(spec: GroupNormSpec): number {
  return Math.ceil(groupSizes(spec).quads / CHUNK);
}

/** Whether groups are so large that {@link groupNormSplit} pays. */
export function splitPays(spec: GroupNormSpec): boolean {
  return chunksOf(spec) >= LEAST_CHUNKS;
}

/** What both launches begin with: the thread's quads of a chunk of a group of a sample. */
const BEGIN = `
  let t = i32(thread);
  let chunk = i32(group.x);
  first_row = i32(group.y) * size.group_size;
  first_quad = i32(group.z) * size.x_sample;
  let first_part = (i32(group.z) * size.groups + i32(group.y)) * size.chunks;
  ${unroll(READS, (i) => `let i${i} = chunk * ${CHUNK} + ${i * CHUNK_THREADS} + t; let v${i} = value(i${i});`)}`;

/** See {@link Backend.groupNorm}: means and squared deviations of chunks are joined as Chan et al. (1979) do. */
export function groupNormSplit(spec: GroupNormSpec): readonly Launch[] {
  const { x, out, affine, groups, epsilon, silu } = spec;
  const chunks = chunksOf(spec);
  const elements = 4 * chunks * groups * x.batch;
  const parts: Memory = {
    layout: { kind: "buffer", element: "f32", stride: elements, bytes: 4 * elements },
    label: "group norm statistics",
    kept: false,
  };
  const sizes = { ...groupSizes(spec), groups, chunks };
  const workgroups = [chunks, groups, x.batch] as const;
  const sumOf = (term: (i: number) => string) =>
    `total(dot(${Array.from({ length: READS }, (_, i) => term(i)).join(" + ")}, vec4<f32>(1.0)), t)`;
  const body = (text: string) => `
${reductions({ threads: CHUNK_THREADS, lanes: 1, type: "f32" }, { total: "a + b" })}
${GROUP_TEXT}
${activationFunction(silu ? "silu" : "none", "vec4<f32>")}
@compute @workgroup_size(${CHUNK_THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
${BEGIN}
${text}
}`;
  const statistics = launch({
    name: `group norm statistics ${x.channels}x${pixels(x)}`,
    operands: [reading({ x }), bufferOperand("parts", parts, "vec4<f32>", "read_write")],
    sizes,
    body: body(`
  let count = ${sumOf((i) => `known(i${i}, vec4<f32>(1.0))`)};
  let mean = ${sumOf((i) => `known(i${i}, v${i})`)} / max(count, 1.0);
  ${unroll(READS, (i) => `let d${i} = known(i${i}, v${i} - mean);`)}
  let squares = ${sumOf((i) => `d${i} * d${i}`)};
  if (t == 0) { parts[first_part + chunk] = vec4<f32>(count, mean, squares, 0.0); }`),
    workgroups,
  });
  const values = launch({
    name: `group norm ${x.channels}x${pixels(x)}`,
    operands: [reading({ x, affine }), writing({ out }), bufferOperand("parts", parts, "vec4<f32>")],
    sizes,
    values: { epsilon },
    body: body(`
  var sum = 0.0;
  for (var i = t; i < size.chunks; i += ${CHUNK_THREADS}) { let part = parts[first_part + i]; sum += part.x * part.y; }
  let count = f32(size.group_size) * f32(size.pixels);
  let mean = total(sum, t) / count;
  var squares = 0.0;
  for (var i = t; i < size.chunks; i += ${CHUNK_THREADS}) {
    let part = parts[first_part + i];
    squares += part.z + part.x * (part.y - mean) * (part.y - mean);
  }
  let scale = inverseSqrt(total(squares, t) / count + size.epsilon);
  ${unroll(READS, (i) => storeText(i, { sample: "i32(group.z)", silu }))}`),
    workgroups,
  });
  return [statistics, values];
}
