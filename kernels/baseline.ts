/**
 * What runs where an optimization is off: what the paper's table (arXiv 2304.11267) starts from.
 * @module
 */
import { type Backend, type GroupNormSpec, planTensor, type ProductSpec } from "./backend.ts";
import { activate, elementwise, extentOf } from "./elementwise.ts";
import { unroll } from "./kernel.ts";
import { type Launch, launch } from "./launch.ts";
import { channelsOf, pixels, type Tensor } from "./tensor.ts";

/** `out = x + y` or `out = x y`, value by value. */
export function combine(
  backend: Backend,
  operator: "+" | "*",
  inputs: { readonly x: Tensor; readonly y: Tensor },
  out: Tensor,
): Launch {
  const text =
    `fn value(row: i32, column: i32) -> vec4<f32> { return x_load(row, column) ${operator} y_load(row, column); }`;
  return elementwise(backend, { name: operator === "+" ? "add" : "multiply", inputs, out, text });
}

/** GEGLU, whose `spec` is that of the fused product: the projection, GELU of the gates, their product with the values. */
export function separateGeglu(backend: Backend, { activation: _, plus, ...spec }: ProductSpec): readonly Launch[] {
  const { out, m } = spec;
  const plan = (channels: number, label: string) => planTensor(backend, { ...out, channels }, label);
  const both = plan(2 * m, "values and gates");
  const [value, gate] = [0, m].map((first) => channelsOf(both, first, m)) as [Tensor, Tensor];
  const active = plan(m, "active gates");
  const gated = plus ? plan(m, "gated values") : out;
  return [
    ...backend.product({ ...spec, out: both, m: 2 * m })[0]!.launches(),
    activate(backend, gate, active, "gelu"),
    combine(backend, "*", { x: value, y: active }, gated),
    ...(plus ? [combine(backend, "+", { x: gated, y: plus }, out)] : []),
  ];
}

/**
 * Group normalisation in launches of its own for the sums of channels, the means and variances of groups, the values and
 * SiLU.
 *
 * @throws {RangeError} when the channels are not a multiple of the groups.
 */
export function separateGroupNorm(backend: Backend, spec: GroupNormSpec): readonly Launch[] {
  const { x, out, affine, groups, epsilon, silu } = spec;
  const size = x.channels / groups;
  if (!Number.isInteger(size)) throw new RangeError(`${x.channels} channels cannot be normalised in ${groups} groups`);
  const [sums, squares, means, variances] = ["sums", "squares", "means", "variances"].map((label) =>
    planTensor(backend, { ...x, height: 1, width: 1 }, label, { exact: true })
  ) as [Tensor, Tensor, Tensor, Tensor];
  const normalized = silu ? planTensor(backend, x, "normalized") : out;
  // Row by row, a vector holds the parameters of its own rows; in a buffer both are columns of one vector.
  const inTexels = backend.vectors.rows === 4;
  const parameter = (i: number) => inTexels ? `affine_load(row, ${i})` : `vec4<f32>(affine_load(row, 0)[${i}])`;
  const values = elementwise(backend, {
    name: "group norm values",
    inputs: { x, means, variances, affine },
    out: normalized,
    sizes: { sample: extentOf(backend, x).columns },
    values: { epsilon },
    text: `fn value(row: i32, column: i32) -> vec4<f32> {
  let sample = column / size.sample;
  let scale = inverseSqrt(variances_load(row, sample) + size.epsilon) * ${parameter(0)};
  return (x_load(row, column) - means_load(row, sample)) * scale + ${parameter(1)};
}`,
  });
  return [
    sumRows(backend, x, sums),
    meanOfGroups(backend, sums, means, size * pixels(x), size),
    sumRows(backend, x, squares, means),
    meanOfGroups(backend, squares, variances, size * pixels(x), size),
    values,
    ...(silu ? [activate(backend, normalized, out, "silu")] : []),
  ];
}

/**
 * `out [batch, channels, 1]`: the sums of the pixels of each channel, or of their squared distances from `means`. A
 * workgroup owns one row of vectors of one sample.
 */
function sumRows(backend: Backend, x: Tensor, out: Tensor, means?: Tensor): Launch {
  const { vectors } = backend;
  const { rows, columns } = extentOf(backend, x);
  const { lanes } = vectors.sums;
  const inTexels = vectors.rows === 4;
  // llvmpipe stops an invocation after 65,535 iterations, silently.
  const reads = columns > 1 << 17 ? 16 : 4;
  const known = inTexels ? "vec4<i32>(at)" : "vec4<i32>(at * 4) + vec4<i32>(0, 1, 2, 3)";
  return launch({
    name: `${out.memory.label} of ${x.channels}x${pixels(x)}`,
    operands: [vectors.reading({ x, ...(means && { means }) }), vectors.writing({ out })],
    sizes: { columns, pixels: pixels(x) },
    body: `
${vectors.sums.text}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let lane = i32(thread);
  let row = i32(group.x);
  let sample = i32(group.y);
  let center = ${means ? "means_load(row, sample)" : "vec4<f32>()"};
  var sum = vec4<f32>();
  for (var column = lane; column < size.columns; column += ${reads * lanes}) {
    ${
      unroll(reads, (i) =>
        `{ let at = column + ${i * lanes};
      let v = x_load(row, sample * size.columns + at) - center;
      sum += select(vec4<f32>(), ${means ? "v * v" : "v"}, ${known} < vec4<i32>(size.pixels)); }`)
    }
  }
  let result = over_lanes(sum, lane);
  if (lane == 0) { out_store(out_at(row, sample), ${inTexels ? "result" : "vec4<f32>(dot(result, vec4<f32>(1.0)))"}); }
}`,
    workgroups: [rows, x.batch, 1],
  });
}

/** `out [batch, channels, 1]`: for each channel the sums of its group's channels, divided by their `count`. */
function meanOfGroups(backend: Backend, sums: Tensor, out: Tensor, count: number, size: number): Launch {
  const inTexels = backend.vectors.rows === 4;
  const sum = inTexels ? "sums_load(channel >> 2u, sample)[channel & 3]" : "sums_load(channel, sample).x";
  const means = inTexels ? [0, 1, 2, 3].map((i) => `mean(row * 4 + ${i}, column)`).join(", ") : "mean(row, column)";
  return elementwise(backend, {
    name: out.memory.label,
    inputs: { sums },
    out,
    sizes: { group_size: size, count },
    text: `fn mean(member: i32, sample: i32) -> f32 {
  var sum = 0.0;
  for (var i = 0; i < size.group_size; i++) {
    let channel = member / size.group_size * size.group_size + i;
    sum += ${sum};
  }
  return sum / f32(size.count);
}
fn value(row: i32, column: i32) -> vec4<f32> { return vec4<f32>(${means}); }`,
  });
}
