/**
 * Group normalisation in one shader without intermediate tensors (arXiv 2304.11267 section 3.1), with SiLU.
 *
 * A texel holds four channels and a group any number, so a subgroup owns the smallest bundle of whole groups that is
 * also whole texels: one to four groups of one sample.
 * @module
 */
import { activationFunction } from "../activations.ts";
import type { GroupNormSpec, Launch } from "../backend.ts";
import { kernel, unroll } from "../kernel.ts";
import { memoryOf, pixels, type Tensor } from "../tensor.ts";
import { addressing, addressSizes, readPort, writePort } from "./layout.ts";

/** Texels a lane reads in one iteration: llvmpipe stops an invocation after 65,535 iterations, silently. */
export function texelsPerIteration(count: number): number {
  return count > 1 << 17 ? 16 : 4;
}

/** Groups of `size` channels in the smallest run of channels that is a multiple of four and of `size`. */
function groupsPerBundle(size: number): number {
  return [1, 2, 4].find((groups) => groups * size % 4 === 0)!;
}

/** Which component of a vector of four groups belongs to each channel of a slice of a bundle. */
export const GROUP_CHOICE = `
/** Which group of the bundle each channel of a slice belongs to. */
fn groups_of(slice: i32) -> vec4<i32> {
  return (vec4<i32>(slice * 4) + vec4<i32>(0, 1, 2, 3)) / vec4<i32>(size.group_size);
}
/** Each channel's value of its group. */
fn by_channel(v: vec4<f32>, owner: vec4<i32>) -> vec4<f32> {
  return select(select(select(vec4<f32>(v.w), vec4<f32>(v.z), owner == vec4<i32>(2)),
    vec4<f32>(v.y), owner == vec4<i32>(1)), vec4<f32>(v.x), owner == vec4<i32>(0));
}`;

/** How a subgroup reads and sums its bundle. */
export const GROUP_TEXT = `${GROUP_CHOICE}
var<private> first_column: i32;
fn value(slice: i32, column: i32) -> vec4<f32> { return textureLoad(x, x_at(slice, first_column + column)); }
/** The same value in all lanes: the sum over the 8 lanes. */
fn over_lanes(v: vec4<f32>) -> vec4<f32> {
  return ((subgroupBroadcast(v, 0u) + subgroupBroadcast(v, 1u)) + (subgroupBroadcast(v, 2u) + subgroupBroadcast(v, 3u)))
       + ((subgroupBroadcast(v, 4u) + subgroupBroadcast(v, 5u)) + (subgroupBroadcast(v, 6u) + subgroupBroadcast(v, 7u)));
}
/** Adds each channel's sum to its group's. */
fn by_group(sum: vec4<f32>, owner: vec4<i32>) -> vec4<f32> {
  let group = vec4<i32>(0, 1, 2, 3);
  return select(vec4<f32>(), vec4<f32>(sum.x), group == vec4<i32>(owner.x))
       + select(vec4<f32>(), vec4<f32>(sum.y), group == vec4<i32>(owner.y))
       + select(vec4<f32>(), vec4<f32>(sum.z), group == vec4<i32>(owner.z))
       + select(vec4<f32>(), vec4<f32>(sum.w), group == vec4<i32>(owner.w));
}`;

/** How `x` is cut into bundles of groups. */
export interface Bundles {
  /** Channels of a group. */
  readonly size: number;
  /** Texels of one column of a bundle. */
  readonly slices: number;
  /** Bundles of a sample. */
  readonly count: number;
}

/**
 * The bundles of a normalisation in `groups` groups.
 *
 * @throws {RangeError} when the channels are not a multiple of the groups, or the groups not of their bundles.
 */
export function bundlesOf(x: Tensor, groups: number): Bundles {
  const size = x.channels / groups;
  const bundle = groupsPerBundle(size);
  if (!Number.isInteger(size) || groups % bundle !== 0) {
    throw new RangeError(`${x.channels} channels cannot be normalised in ${groups} groups`);
  }
  return { size, slices: size * bundle / 4, count: groups / bundle };
}

/**
 * See {@link Backend.groupNorm}. Two-pass variance.
 *
 * @throws {RangeError} as {@link bundlesOf} does.
 */
export function groupNorm(spec: GroupNormSpec): Launch {
  const { x, out, affine, epsilon, silu } = spec;
  const { size, slices, count } = bundlesOf(x, spec.groups);
  const reads = texelsPerIteration(pixels(x));
  const step = reads * 8;
  const column = (i: number) => `column + ${i * 8}`;
  const body = `
${addressing("x")}
${addressing("out")}
${addressing("affine")}
${activationFunction("silu", "vec4<f32>")}
${GROUP_TEXT}
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_slice = i32(group.x) * size.slices;
  first_column = i32(group.y) * size.pixels;
  let count = f32(size.group_size * size.pixels);

  var sums = vec4<f32>();
  for (var s = 0; s < size.slices; s++) {
    var sum = vec4<f32>();
    for (var column = i32(lane); column < size.pixels; column += ${step}) {
      ${
    unroll(reads, (i) =>
      `let v${i} = select(vec4<f32>(), value(first_slice + s, ${column(i)}), ${column(i)} < size.pixels);`)
  }
      sum += ${Array.from({ length: reads }, (_, i) => `v${i}`).join(" + ")};
    }
    sums += by_group(sum, groups_of(s));
  }
  let mean = over_lanes(sums) / count;

  var squares = vec4<f32>();
  for (var s = 0; s < size.slices; s++) {
    let center = by_channel(mean, groups_of(s));
    var sum = vec4<f32>();
    for (var column = i32(lane); column < size.pixels; column += ${step}) {
      ${
    unroll(reads, (i) =>
      `let v${i} = select(vec4<f32>(), value(first_slice + s, ${column(i)}) - center, ${column(i)} < size.pixels);`)
  }
      sum += ${Array.from({ length: reads }, (_, i) => `v${i} * v${i}`).join(" + ")};
    }
    squares += by_group(sum, groups_of(s));
  }
  let scale = inverseSqrt(over_lanes(squares) / count + size.epsilon);

  for (var s = 0; s < size.slices; s++) {
    let owner = groups_of(s);
    let weight = textureLoad(affine, affine_at(first_slice + s, 0)) * by_channel(scale, owner);
    let bias = textureLoad(affine, affine_at(first_slice + s, 1)) - by_channel(mean, owner) * weight;
    for (var column = i32(lane); column < size.pixels; column += ${step}) {
      ${
    unroll(reads, (i) => {
      // With or without SiLU in one shader; the selects keep LLVM from compiling the chain lane by lane.
      return `if (${column(i)} < size.pixels) {
  let normalised = value(first_slice + s, ${column(i)}) * weight + bias;
  let result = select(normalised, silu(normalised), vec4<bool>(size.silu != 0));
  textureStore(out, out_at(first_slice + s, first_column + ${column(i)}), result);
}`;
    })
  }
    }
  }
}`;
  return {
    kernel: kernel({
      name: `group norm ${x.channels}x${pixels(x)}`,
      ports: [readPort("x", x), writePort("out"), readPort("affine", affine)],
      sizes: {
        ...addressSizes("x", x),
        ...addressSizes("out", out),
        ...addressSizes("affine", affine),
        pixels: pixels(x),
        group_size: size,
        slices,
        silu: silu ? 1 : 0,
      },
      values: { epsilon },
      body,
      workgroups: [count, x.batch, 1],
    }),
    memory: memoryOf(x, out, affine),
  };
}
