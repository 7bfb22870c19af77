import { assert, assertEquals } from "@std/assert";
import { hold, openDawn } from "../../kernels/dawn.ts";
import { FEATURES } from "../../kernels/device.ts";
import { TINT } from "../../kernels/dialect.ts";
import { type Kernel, kernel } from "../../kernels/kernel.ts";
import { advance } from "../../kernels/recurrence.ts";
import { testDawn } from "../dawn_package.ts";
import { everyLaunch } from "../kernels/catalogue.ts";
import { BACKENDS, HALF_BACKEND, MATRIX_BACKENDS } from "../kernels/harness.ts";
import { everyCall } from "./model_calls.ts";
import { kernelsOf } from "./planned_call.ts";

/** A device of Dawn's that computes nothing, and compiles. */
async function openCompiler(folder: string): Promise<GPUDevice> {
  const gpu = await openDawn(folder, ["backend=null"]);
  const adapter = (await gpu.requestAdapter())!;
  const requiredFeatures = FEATURES as GPUFeatureName[];
  const device = await adapter.requestDevice({ requiredFeatures });
  [adapter, device].forEach(hold);
  return device;
}

/** What is wrong with a text, in Tint's words. */
async function compile(device: GPUDevice, { name, wgsl }: Pick<Kernel, "name" | "wgsl">): Promise<string | undefined> {
  device.pushErrorScope("validation");
  device.createShaderModule({ label: name, code: TINT(wgsl) });
  return (await device.popErrorScope())?.message;
}

testDawn("every kernel's text compiles with Tint", async (folder) => {
  const shape = { batch: 2, channels: 32, height: 16, width: 16, groups: 8, heads: 4, keys: 77 };
  const tiny = { batch: 1, channels: 4, height: 1, width: 4, groups: 1, heads: 1, keys: 1 };
  const step = { layout: { kind: "buffer", element: "u32", stride: 4, bytes: 16 }, label: "step", kept: true } as const;
  const calls = everyCall();
  const kernels = [
    advance(step).kernel,
    ...BACKENDS.flatMap((backend) => [shape, tiny].flatMap((shape) => everyLaunch(backend, shape)))
      .map(({ kernel }) => kernel),
    ...[...BACKENDS, HALF_BACKEND, ...MATRIX_BACKENDS].flatMap((backend) =>
      calls.flatMap((call) => kernelsOf(backend, call))
    ),
  ];
  const texts = new Map(kernels.map((kernel) => [kernel.wgsl, kernel]));
  assert(texts.size > 100, `${texts.size} texts`);
  const device = await openCompiler(folder);
  for (const one of texts.values()) assertEquals(await compile(device, one), undefined, `${one.name}\n${one.wgsl}`);
});

testDawn("Tint refuses what is wrong, and matrices are those of the draft", async (folder) => {
  const device = await openCompiler(folder);
  const textOf = (body: string) =>
    kernel({
      name: "matrices",
      ports: [{ kind: "buffer", name: "x", access: "read_write", element: "f16" }],
      sizes: { first: 0 },
      workgroups: [1, 1, 1],
      body: `
alias Left = subgroup_matrix_left<f16, 8, 8>;
alias Right = subgroup_matrix_right<f16, 8, 8>;
alias Sum = subgroup_matrix_result<f32, 8, 8>;
var<workgroup> sums: array<f32, 64>;
@compute @workgroup_size(32)
fn main(@builtin(subgroup_id) subgroup: u32) {
  let a = subgroupMatrixLoad<Left, row_major>(&x, 64 * subgroup, 8);
  ${body}
}`,
    });
  const right = `
  let b = subgroupMatrixLoad<Right, col_major>(&x, 64, 8);
  var sum: Sum;
  sum = subgroupMatrixMultiplyAccumulate(a, b, sum);
  subgroupMatrixStore<row_major>(&sums, 0, sum, 8);`;
  assertEquals(await compile(device, textOf(right)), undefined);
  const wrong = await compile(device, textOf(right.replace("(a, b, sum)", "(b, a, sum)")));
  assert(wrong?.includes("subgroupMatrixMultiplyAccumulate"), wrong);
});
