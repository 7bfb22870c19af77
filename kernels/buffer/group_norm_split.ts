/**
 * Group normalisation of large groups: with few groups, a workgroup for each would leave most of a large GPU idle. A
 * first launch reduces chunks of each group to their statistics, a second one joins them and normalises, chunk by chunk.
 * On an H100 the one shader reaches 0.5 TB/s on the VAE's 32 groups.
 * @module
 */
import { activationFunction } from "../activations.ts";
import type { GroupNormSpec, Launch } from "../backend.ts";
import { kernel, type Port, unroll } from "../kernel.ts";
import { type Memory, memoryOf, pixels } from "../tensor.ts";
import { GROUP_TEXT, groupSize, storeText } from "./group_norm.ts";
import { access, addressSizes, port, sampleColumns } from "./layout.ts";
import { reductions } from "./reduction.ts";

const THREADS = 256;

/** Quads of a thread. */
const READS = 4;

const CHUNK = THREADS * READS;

/** Chunks of a group from which two launches are faster than one (H100). */
const LEAST_CHUNKS = 3;

/** Chunks of each group of `spec.x`. */
function chunksOf({ x, groups }: GroupNormSpec): number {
  return Math.ceil(groupSize(x, groups) * sampleColumns(pixels(x)) / 4 / CHUNK);
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
  ${unroll(READS, (i) => `let i${i} = chunk * ${CHUNK} + ${i * THREADS} + t; let v${i} = value(i${i});`)}`;

/** See {@link Backend.groupNorm}: means and squared deviations of chunks are joined as Chan et al. (1979) do. */
export function groupNormSplit(spec: GroupNormSpec): readonly Launch[] {
  const { x, out, affine, groups, epsilon, silu } = spec;
  const chunks = chunksOf(spec);
  const size = groupSize(x, groups);
  const elements = 4 * chunks * groups * x.batch;
  const parts: Memory = {
    layout: { kind: "buffer", element: "f32", stride: elements, bytes: 4 * elements },
    label: "group norm statistics",
    kept: false,
  };
  const partsPort = (access: "read" | "read_write"): Port => ({
    kind: "buffer",
    name: "parts",
    access,
    element: "vec4<f32>",
  });
  const sizes = {
    ...addressSizes("x", x),
    group_size: size,
    groups,
    chunks,
    pixels: pixels(x),
    quads: size * sampleColumns(pixels(x)) / 4,
  };
  const workgroups = [chunks, groups, x.batch] as const;
  const sumOf = (term: (i: number) => string) =>
    `total(dot(${Array.from({ length: READS }, (_, i) => term(i)).join(" + ")}, vec4<f32>(1.0)), t)`;
  const header = `
${access("x", x)}
${reductions({ threads: THREADS, lanes: 1, type: "f32" }, { total: "a + b" })}
${GROUP_TEXT}`;
  const main = (text: string) => `
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
${BEGIN}
${text}
}`;
  const statistics = kernel({
    name: `group norm statistics ${x.channels}x${pixels(x)}`,
    ports: [port("x", x), partsPort("read_write")],
    sizes,
    body: `${header}
${
      main(`
  let count = ${sumOf((i) => `known(i${i}, vec4<f32>(1.0))`)};
  let mean = ${sumOf((i) => `known(i${i}, v${i})`)} / max(count, 1.0);
  ${unroll(READS, (i) => `let d${i} = known(i${i}, v${i} - mean);`)}
  let squares = ${sumOf((i) => `d${i} * d${i}`)};
  if (t == 0) { parts[first_part + chunk] = vec4<f32>(count, mean, squares, 0.0); }`)
    }`,
    workgroups,
  });
  const values = kernel({
    name: `group norm ${x.channels}x${pixels(x)}`,
    ports: [port("x", x), port("out", out, "read_write"), port("affine", affine), partsPort("read")],
    sizes: { ...sizes, ...addressSizes("out", out), ...addressSizes("affine", affine) },
    values: { epsilon },
    body: `${header}
${access("out", out, "read_write")}
${access("affine", affine)}
${activationFunction(silu ? "silu" : "none", "vec4<f32>")}
${
      main(`
  var sum = 0.0;
  for (var i = t; i < size.chunks; i += ${THREADS}) { let part = parts[first_part + i]; sum += part.x * part.y; }
  let count = f32(size.group_size) * f32(size.pixels);
  let mean = total(sum, t) / count;
  var squares = 0.0;
  for (var i = t; i < size.chunks; i += ${THREADS}) {
    let part = parts[first_part + i];
    squares += part.z + part.x * (part.y - mean) * (part.y - mean);
  }
  let scale = inverseSqrt(total(squares, t) / count + size.epsilon);
  ${unroll(READS, (i) => storeText(i, { sample: "i32(group.z)", silu }))}`)
    }`,
    workgroups,
  });
  return [
    { kernel: statistics, memory: memoryOf(x, parts) },
    { kernel: values, memory: memoryOf(x, out, affine, parts) },
  ];
}
