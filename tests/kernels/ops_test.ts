import { assertEquals, assertThrows } from "@std/assert";
import { Gpu } from "../../kernels/gpu.ts";
import { Ops } from "../../kernels/ops.ts";
import { firstSample } from "../../kernels/tensor.ts";
import { BACKENDS, randomValues } from "./harness.ts";

const SHAPE = { batch: 3, channels: 5, height: 2, width: 3 };

for (const backend of BACKENDS) {
  Deno.test(`${backend.name}: what is written can be read, and copied by a program`, async () => {
    await using gpu = await Gpu.open();
    const ops = new Ops(gpu, backend);
    const [x, y] = [ops.keep(SHAPE, "x"), ops.keep(SHAPE, "y")];
    const values = Float32Array.from(randomValues(1, 90));
    ops.write(x, values);
    assertEquals(await ops.read(x), values);
    const program = ops.record(() => ops.copy(x, y));
    program.run();
    assertEquals(await ops.read(y), values);
    program.dispose();
  });

  Deno.test(`${backend.name}: a program can read the first sample of a batch`, async () => {
    await using gpu = await Gpu.open();
    const ops = new Ops(gpu, backend);
    const [x, y] = [ops.keep(SHAPE, "x"), ops.keep({ ...SHAPE, batch: 1 }, "y")];
    const values = Float32Array.from(randomValues(2, 90));
    ops.write(x, values);
    const program = ops.record(() => ops.copy(firstSample(x), y));
    program.run();
    assertEquals(await ops.read(y), values.slice(0, 30));
    program.dispose();
  });

  Deno.test(`${backend.name}: a tensor refuses another number of values`, async () => {
    await using gpu = await Gpu.open();
    const ops = new Ops(gpu, backend);
    const x = ops.keep(SHAPE, "x");
    assertThrows(() => ops.write(x, new Float32Array(89)), RangeError, "89 values for a tensor [3, 5, 2, 3]");
    assertEquals(gpu.bytes, 0);
  });
}
