/**
 * Group normalisation in one shader without intermediate tensors (arXiv 2304.11267 section 3.1), with SiLU.
 *
 * A texel holds four channels and a group any number, so a subgroup owns the smallest bundle of whole groups that is
 * also whole texels: one to four groups of one sample.
 * @module
 */
import type { GroupNormSpec } from "../backend.ts";
import { activationFunction } from "../elementwise.ts";
import { unroll } from "../kernel.ts";
import { type Launch, launch } from "../launch.ts";
import { pixels, type Tensor } from "../tensor.ts";
import { LANE_SUMS, reading, writing } from "./layout.ts";

/** Texels a lane reads in one iteration: llvmpipe stops an invocation after 65,535 iterations, silently. */
function texelsPerIteration(count: number): number {
  return count > 1 << 17 ? 16 : 4;
}

/** Groups of `size` channels in the smallest run of channels that is a multiple of four and of `size`. */
function groupsPerBundle(size: number): number {
  return [1, 2, 4].find((groups) => groups * size % 4 === 0)!;
}

/** How a subgroup reads and sums its bundle. */
const GROUP_TEXT = `${LANE_SUMS}
/** Which group of the bundle each channel of a slice belongs to. */
fn groups_of(slice: i32) -> vec4<i32> {
  return (vec4<i32>(slice * 4) + vec4<i32>(0, 1, 2, 3)) / vec4<i32>(size.group_size);
}
/** Each channel's value of its group. */
fn by_channel(v: vec4<f32>, owner: vec4<i32>) -> vec4<f32> {
  return select(select(select(vec4<f32>(v.w), vec4<f32>(v.z), owner == vec4<i32>(2)),
    vec4<f32>(v.y), owner == vec4<i32>(1)), vec4<f32>(v.x), owner == vec4<i32>(0));
}
var<private> first_column: i32;
fn value(slice: i32, column: i32) -> vec4<f32> { return x_load(slice, first_column + column); }
/** Adds each channel's sum to its group's. */
fn by_group(sum: vec4<f32>, owner: vec4<i32>) -> vec4<f32> {
  let group = vec4<i32>(0, 1, 2, 3);
  return select(vec4<f32>(), vec4<f32>(sum.x), group == vec4<i32>(owner.x))
       + select(vec4<f32>(), vec4<f32>(sum.y), group == vec4<i32>(owner.y))
       + select(vec4<f32>(), vec4<f32>(sum.z), group == vec4<i32>(owner.z))
       + select(vec4<f32>(), vec4<f32>(sum.w), group == vec4<i32>(owner.w));
}`;

/** How a tensor is cut into bundles of groups. */
interface Bundles {
  /** Channels of a group. */
  readonly size: number;
  /** Texels of one column of a bundle. */
  readonly slices: number;
  /** Bundles of a sample. */
  readonly count: number;
}

/** Throws a RangeError when the channels are not a multiple of the groups, or the groups not of their bundles. */
function bundlesOf(x: Tensor, groups: number): Bundles {
  const size = x.channels / groups;
  const bundle = groupsPerBundle(size);
  if (!Number.isInteger(size) || groups % bundle !== 0) {
    throw new RangeError(`${x.channels} channels cannot be normalised in ${groups} groups`);
  }
  return { size, slices: size * bundle / 4, count: groups / bundle };
}

/** See {@link Backend.groupNorm}. Two-pass variance. */
export function groupNorm(spec: GroupNormSpec): Launch {
  const { x, out, affine, epsilon, silu } = spec;
  const { size, slices, count } = bundlesOf(x, spec.groups);
  const reads = texelsPerIteration(pixels(x));
  const step = reads * 8;
  const column = (i: number) => `column + ${i * 8}`;
  const body = `
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
  let mean = over_lanes(sums, i32(lane)) / count;

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
  let scale = inverseSqrt(over_lanes(squares, i32(lane)) / count + size.epsilon);

  for (var s = 0; s < size.slices; s++) {
    let owner = groups_of(s);
    let weight = affine_load(first_slice + s, 0) * by_channel(scale, owner);
    let bias = affine_load(first_slice + s, 1) - by_channel(mean, owner) * weight;
    for (var column = i32(lane); column < size.pixels; column += ${step}) {
      ${
    unroll(reads, (i) => {
      // With or without SiLU in one shader; the selects keep LLVM from compiling the chain lane by lane.
      return `if (${column(i)} < size.pixels) {
  let normalised = value(first_slice + s, ${column(i)}) * weight + bias;
  let result = select(normalised, silu(normalised), vec4<bool>(size.silu != 0));
  out_store(out_at(first_slice + s, first_column + ${column(i)}), result);
}`;
    })
  }
    }
  }
}`;
  return launch({
    name: `group norm ${x.channels}x${pixels(x)}`,
    operands: [reading({ x, affine }), writing({ out })],
    sizes: { pixels: pixels(x), group_size: size, slices, silu: silu ? 1 : 0 },
    values: { epsilon },
    body,
    workgroups: [count, x.batch, 1],
  });
}
