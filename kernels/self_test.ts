/**
 * Whether a GPU computes what it is told: small computations whose results are known to the last bit. Drivers have
 * returned zeros for float16 without an error (denoland/deno#23125).
 * @module
 */
import { FEATURES, LIMITS } from "./device.ts";
import type { Backend } from "./backend.ts";
import type { Gpu } from "./gpu.ts";
import { type Kernel, kernel } from "./kernel.ts";
import { chooseBackends } from "./mod.ts";
import { Ops } from "./ops.ts";
import { Program } from "./program.ts";
import { Selection, type SelectionOptions } from "./selection.ts";
import type { Memory } from "./tensor.ts";

/** A computation whose result is known. */
export interface SelfTest {
  /** What is computed. */
  readonly name: string;
  /** Why it was not, or how the result is wrong; absent when it is right. */
  readonly failure?: string;
}

/** What a GPU has and whether it works. */
export interface Examination {
  /** Features that kernels use where they exist, and whether they do. */
  readonly features: Readonly<Record<string, boolean>>;
  /** Limits that kernels use beyond WebGPU's defaults. */
  readonly limits: Readonly<Record<string, number>>;
  /** The kernels that suit it, and why. */
  readonly kernels: { readonly backend: "texture" | "buffer"; readonly why: string };
  /** Those that this GPU can run. */
  readonly tests: readonly SelfTest[];
}

/** Lanes of the float32 kernel, and values of its result. */
const LANES = 64;

/** Finds out what `gpu` has and runs the self-tests; kernels are chosen as pipelines with these options choose them. */
export async function examine(gpu: Gpu, options?: SelectionOptions): Promise<Examination> {
  const { features, limits } = gpu.device;
  const { exact, half, why } = await chooseBackends(gpu, new Selection(gpu.adapter, options));
  const float16 = features.has("shader-f16");
  return {
    features: Object.fromEntries(FEATURES.map((name) => [name, features.has(name as GPUFeatureName)])),
    limits: Object.fromEntries(LIMITS.map((name) => [name, limits[name]])),
    kernels: { backend: exact.name, why },
    tests: [
      await check("float32 sums through workgroup memory", sumsOf(gpu)),
      ...(float16 ? [await check("float16 arithmetic", halvesOf(gpu))] : []),
      await check(`a layer by ${exact.name} kernels in float32`, layerOf(gpu, exact)),
      ...(half === exact ? [] : [await check(`a layer by ${half.name} kernels in float16`, layerOf(gpu, half))]),
    ],
  };
}

/** Results, and what they must be. */
interface Outcome {
  readonly got: Float32Array;
  readonly want: readonly number[];
}

async function check(name: string, outcome: Promise<Outcome>): Promise<SelfTest> {
  try {
    const { got, want } = await outcome;
    const wrong = want.findIndex((value, i) => got[i] !== value);
    return wrong < 0 ? { name } : { name, failure: `value ${wrong} is ${got[wrong]} instead of ${want[wrong]}` };
  } catch (error) {
    return { name, failure: (error as Error).message };
  }
}

function buffer(label: string, elements: number, element: "f32" | "f16"): Memory {
  const bytes = elements * (element === "f16" ? 2 : 4);
  return { layout: { kind: "buffer", element, stride: elements, bytes }, label, kept: true };
}

async function launch(gpu: Gpu, kernel: Kernel, memory: readonly Memory[]): Promise<Float32Array> {
  const program = new Program(gpu, [{ kernel, memory }]);
  try {
    program.run();
    return await gpu.read(memory.at(-1)!);
  } finally {
    program.dispose();
    for (const one of memory) gpu.free(one);
  }
}

/** Sums of halves and of their products, which float32 holds exactly. */
async function sumsOf(gpu: Gpu): Promise<Outcome> {
  const sums = kernel({
    name: "self-test float32",
    ports: [
      { kind: "buffer", name: "x", access: "read", element: "f32" },
      { kind: "buffer", name: "out", access: "read_write", element: "f32" },
    ],
    sizes: { lanes: LANES },
    body: `
var<workgroup> tile: array<f32, ${LANES}>;
@compute @workgroup_size(${LANES})
fn main(@builtin(local_invocation_index) lane: u32) {
  tile[lane] = x[lane];
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0; i < size.lanes; i++) { sum += tile[(i32(lane) + i) % size.lanes] * f32(i - 7); }
  out[lane] = sum;
}`,
    workgroups: [1, 1, 1],
  });
  const input = Float32Array.from({ length: LANES }, (_, i) => i / 2 - 3);
  const [x, out] = [buffer("self-test input", LANES, "f32"), buffer("self-test result", LANES, "f32")];
  gpu.write(x, input);
  const want = Array.from(
    input,
    (_, lane) => input.reduce((sum, _, i) => sum + input[(lane + i) % LANES]! * (i - 7), 0),
  );
  return { got: await launch(gpu, sums, [x, out]), want };
}

/** Four float16 in memory and in arithmetic; every value has a float16 of its own. */
async function halvesOf(gpu: Gpu): Promise<Outcome> {
  const halves = kernel({
    name: "self-test float16",
    ports: [
      { kind: "buffer", name: "x", access: "read", element: "vec4<f16>" },
      { kind: "buffer", name: "out", access: "read_write", element: "vec4<f32>" },
    ],
    sizes: { two: 2 },
    body: `
@compute @workgroup_size(1)
fn main() { out[0] = vec4<f32>(x[0] * f16(size.two) + vec4<f16>(0.5h)); }`,
    workgroups: [1, 1, 1],
  });
  const input = [1.5, -2.25, 0.125, 100];
  const [x, out] = [buffer("self-test input", 4, "f16"), buffer("self-test result", 4, "f32")];
  gpu.write(x, Float16Array.from(input));
  return { got: await launch(gpu, halves, [x, out]), want: input.map((value) => 2 * value + 0.5) };
}

/** A linear layer of small whole numbers, which float16 holds as well. */
async function layerOf(gpu: Gpu, backend: Backend): Promise<Outcome> {
  const [inputs, outputs, columns] = [16, 8, 16];
  const values = Float32Array.from({ length: inputs * columns }, (_, i) => (i * 7) % 5 - 2);
  const data = Float32Array.from({ length: outputs * inputs }, (_, i) => (i * 11) % 7 - 3);
  const ops = new Ops(gpu, backend);
  const x = ops.keep({ batch: 1, channels: inputs, height: columns, width: 1 }, "self-test input");
  const out = ops.keep({ batch: 1, channels: outputs, height: columns, width: 1 }, "self-test result");
  const layer = ops.layer({ out: outputs, in: inputs, taps: 1, data });
  const program = ops.record(() => ops.copy(ops.linear(x, layer), out));
  try {
    ops.write(x, values);
    program.run();
    const want = Array.from({ length: outputs * columns }, (_, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      let sum = 0;
      for (let k = 0; k < inputs; k++) sum += data[row * inputs + k]! * values[k * columns + column]!;
      return sum;
    });
    return { got: await ops.read(out), want };
  } finally {
    program.dispose();
    for (const { memory } of [x, out, layer.weights]) gpu.free(memory);
    ops.dispose();
  }
}
