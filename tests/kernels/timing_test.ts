import { assert, assertEquals, assertRejects } from "@std/assert";
import { GpuFailedError, GpuMemoryError } from "../../kernels/errors.ts";
import type { Launch } from "../../kernels/backend.ts";
import { kernel } from "../../kernels/kernel.ts";
import { Program } from "../../kernels/program.ts";
import type { Memory } from "../../kernels/tensor.ts";
import { timerOf } from "../../kernels/timing.ts";
import { openFakeGpu } from "./fake_device.ts";

function buffer(elements: number): Memory {
  return { layout: { kind: "buffer", element: "f32", stride: elements, bytes: 4 * elements }, label: "x", kept: true };
}

/** Adds one to the first value of a buffer. */
function adding(x: Memory, sum = "x[0] + f32(size.one)"): Launch {
  const adding = kernel({
    name: "adding",
    ports: [{ kind: "buffer", name: "x", access: "read_write", element: "f32" }],
    sizes: { one: 1 },
    body: `@compute @workgroup_size(1) fn main() { x[0] = ${sum}; }`,
    workgroups: [1, 1, 1],
  });
  return { kernel: adding, memory: [x] };
}

Deno.test("launches are timed in memory of their own, which is given back", async () => {
  await using gpu = (await openFakeGpu()).gpu;
  const x = buffer(4);
  gpu.write(x, Float32Array.of(1, 2, 3, 4));
  assert(await timerOf(gpu)([adding(x), adding(x)], 3) > 0);
  assertEquals([...await gpu.read(x)], [1, 2, 3, 4]);
  assertEquals(gpu.bytes, 16);
});

Deno.test("what a timing is refused fails nothing after it", async () => {
  const tooLarge = { ...buffer(4), layout: { ...buffer(4).layout, bytes: 2 ** 40 } } as Memory;
  const refusals = [
    { allocation: 2, launches: [adding(buffer(8))], error: GpuMemoryError },
    { allocation: 99, launches: [adding(buffer(8), "nothing")], error: GpuFailedError },
    { allocation: 99, launches: [adding(buffer(8)), adding(tooLarge)], error: GpuMemoryError },
  ];
  for (const { allocation, launches, error } of refusals) {
    await using gpu = (await openFakeGpu(allocation)).gpu;
    const x = buffer(4);
    gpu.write(x, Float32Array.of(1, 2, 3, 4));
    await assertRejects<Error>(() => timerOf(gpu)(launches, 2), error);
    const program = new Program(gpu, [adding(x)]);
    program.run();
    assertEquals([...await gpu.read(x)], [2, 2, 3, 4]);
    program.dispose();
    assertEquals(gpu.bytes, 16);
  }
});

Deno.test("a GPU that is lost stays so", async () => {
  const { gpu, lose } = await openFakeGpu();
  const timing = timerOf(gpu)([adding(buffer(4))], 2);
  const losing = lose("timed out");
  await assertRejects(() => timing, GpuFailedError);
  await losing;
  await assertRejects(() => timerOf(gpu)([adding(buffer(4))], 2), GpuFailedError, "The GPU was lost: timed out");
  await assertRejects(() => gpu.finish(), GpuFailedError, "The GPU was lost: timed out");
  await gpu[Symbol.asyncDispose]();
});
