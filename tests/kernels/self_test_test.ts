import { assert, assertEquals } from "@std/assert";
import { FEATURES } from "../../kernels/device.ts";
import { GpuFailedError } from "../../kernels/errors.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { examine } from "../../kernels/self_test.ts";
import { override } from "./fake_device.ts";

Deno.test("this GPU passes the self-tests and says what it has", async () => {
  await using gpu = await Gpu.open();
  const { features, limits, kernels, tests } = await examine(gpu);
  assertEquals(Object.keys(features), [...FEATURES]);
  assert(limits.maxStorageBufferBindingSize! >= 2 ** 27);
  assert(["texture", "buffer"].includes(kernels.backend));
  assert(kernels.why.length > 0);
  assertEquals(tests.filter(({ failure }) => failure !== undefined), []);
  assertEquals(tests.some(({ name }) => name === "float16 arithmetic"), features["shader-f16"]);
  assert(tests.length >= 2);
  assertEquals(gpu.bytes, 0);
});

Deno.test("a GPU that is wrong by little, or fails, does not pass", async () => {
  await using gpu = await Gpu.open();
  const cases = [
    [(values: Float32Array) => values.map((value) => value + 1 / 1024), /^value \d+ is .* instead of /],
    [(values: Float32Array) => values.fill(0), /^value \d+ is 0 instead of /],
    [() => {
      throw new GpuFailedError("The GPU was lost");
    }, /^The GPU was lost$/],
  ] as const;
  const plain = await examine(gpu);
  for (const [change, words] of cases) {
    let reads = 0;
    const read = async (memory: Parameters<Gpu["read"]>[0]) => {
      const values = await gpu.read(memory);
      // The probe of the kernels reads first.
      return plain.kernels.why.startsWith("textures need") || reads++ > 0 ? change(values) : values;
    };
    const { tests } = await examine(override(gpu, { read }));
    assertEquals(tests.map(({ name }) => name), plain.tests.map(({ name }) => name));
    for (const { failure } of tests) assert(words.test(failure!), failure);
  }
});

Deno.test("without what textures need, the kernels that read buffers are tested, in float16 as well where that is", async () => {
  await using gpu = await Gpu.open();
  const { features } = gpu.device;
  const names = ["shader-f16", "subgroups"].filter((name) => features.has(name as GPUFeatureName));
  const device = override(gpu.device, { features: new Set(names) });
  const { kernels, tests } = await examine(override(gpu, { device }));
  assertEquals(kernels.backend, "buffer");
  assertEquals(kernels.why.startsWith("textures need"), true);
  assertEquals(tests.filter(({ failure }) => failure !== undefined), []);
  const half = names.includes("shader-f16");
  assertEquals(tests.some(({ name }) => name === "a layer by buffer kernels in float16"), half);
});
