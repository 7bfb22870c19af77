import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { GpuFailedError, GpuMemoryError, NoGpuError } from "../../kernels/errors.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { type Kernel, kernel } from "../../kernels/kernel.ts";
import { Program } from "../../kernels/program.ts";
import type { Memory } from "../../kernels/tensor.ts";
import { textureLayout } from "../../kernels/texture/layout.ts";
import { type FakeGpu, openFakeGpu, override, withNavigatorGpu } from "./fake_device.ts";

/** A kept buffer of `elements` float32. */
function buffer(elements: number): Memory {
  return { layout: { kind: "buffer", element: "f32", stride: elements, bytes: 4 * elements }, label: "x", kept: true };
}

/** Doubles the first value of a buffer. */
function doubling(body = "@compute @workgroup_size(1) fn main() { x[0] *= f32(size.two); }"): Kernel {
  return kernel({
    name: "doubling",
    ports: [{ kind: "buffer", name: "x", access: "read_write", element: "f32" }],
    sizes: { two: 2 },
    body,
    workgroups: [1, 1, 1],
  });
}

Deno.test("a program runs as often as it is asked to", async () => {
  await using gpu = await Gpu.open();
  const x = buffer(4);
  gpu.write(x, Float32Array.of(3, 4, 5, 6));
  const program = new Program(gpu, [{ kernel: doubling(), memory: [x] }, { kernel: doubling(), memory: [x] }]);
  assertEquals(program.names, ["doubling", "doubling"]);
  program.run();
  assertEquals(gpu.pipelines, 1);
  program.run();
  assertEquals([...await gpu.read(x)], [48, 4, 5, 6]);
  program.dispose();
});

Deno.test("memory is counted, and given back when it is freed", async () => {
  await using gpu = await Gpu.open();
  const [x, y] = [buffer(64), { layout: textureLayout(4, 10), label: "y", kept: true }];
  gpu.write(x, new Float32Array(64));
  gpu.write(y, new Float32Array(40));
  assertEquals(gpu.bytes, 256 + 160);
  gpu.free(x);
  assertEquals(gpu.bytes, 160);
  // A second time nothing is left to give back.
  gpu.free(x);
  gpu.free(y);
  assertEquals(gpu.bytes, 0);
  assertEquals(gpu.peakBytes, 256 + 160);
});

Deno.test("a program at rest holds no memory, and runs again on what its kept memory is then", async () => {
  await using gpu = await Gpu.open();
  const [x, passed] = [buffer(4), { ...buffer(32), kept: false }];
  const made: string[] = [];
  const launches = [x, passed].map((memory) => ({ kernel: doubling(), memory: [memory] }));
  const program = new Program(gpu, launches, [() => made.push("before")]);
  const other = new Program(gpu, [launches[1]!]);
  // What both pass values through is one memory.
  assertEquals(Program.bytesToCome(gpu, [program, other], [x, buffer(8)]), 16 + 128 + 32);
  assertEquals(gpu.bytes, 0);
  gpu.write(x, Float32Array.of(3));
  program.run();
  assertEquals([gpu.bytes, Program.bytesToCome(gpu, [program])], [16 + 128, 0]);
  other.rest();
  program.rest();
  assertEquals(gpu.bytes, 16);
  gpu.free(x);
  gpu.write(x, Float32Array.of(5));
  program.run();
  assertEquals([[...await gpu.read(x)], gpu.bytes], [[10, 0, 0, 0], 16 + 128]);
  assertEquals(made, ["before", "before"]);
  for (const one of [program, other]) one.dispose();
  assertEquals(gpu.bytes, 16);
});

Deno.test("what is written is handed to the GPU every 4 MiB, so that its copies on the host do not pile up", async () => {
  await using gpu = await Gpu.open();
  const { queue } = gpu.device;
  const submit = queue.submit.bind(queue);
  let submits = 0;
  queue.submit = (commands) => {
    submits++;
    submit(commands);
  };
  const x = buffer(2 ** 18);
  const values = new Float32Array(2 ** 18);
  const after = Array.from({ length: 9 }, () => {
    gpu.write(x, values);
    return submits;
  });
  assertEquals(after, [0, 0, 0, 1, 1, 1, 1, 2, 2]);
  await gpu.finish();
});

Deno.test("values that do not fit into their memory are refused", async () => {
  await using gpu = await Gpu.open();
  assertThrows(() => gpu.write(buffer(4), new Float32Array(5)), RangeError, "20 bytes do not fit into the 16 of x");
});

Deno.test("a buffer that no kernel could bind is refused before it is made", async () => {
  await using gpu = await Gpu.open();
  assertThrows(
    () => gpu.resource(buffer(2 ** 31)),
    GpuMemoryError,
    "Buffer x needs 8192.0 MiB; this GPU's largest binding is ",
  );
  assertEquals(gpu.bytes, 0);
});

Deno.test("a shader that does not compile is reported with the kernel's name and the compiler's words", async () => {
  await using gpu = await Gpu.open();
  gpu.pipeline(doubling("@compute @workgroup_size(1) fn main() { y[0] = 1.0; }"));
  const error = await assertRejects(() => gpu.finish(), GpuFailedError, "Kernel doubling was refused: ");
  assert(/(?:no definition in scope for identifier: `y`|unresolved value .y.)/.test(error.message), error.message);
});

Deno.test("pipelines are made before they are needed, each text once, whoever asks for it meanwhile", async () => {
  await using gpu = await Gpu.open();
  const { device } = gpu;
  let asked = 0;
  const make = device.createComputePipelineAsync.bind(device);
  device.createComputePipelineAsync = (descriptor) => {
    asked++;
    return make(descriptor);
  };
  const sync = () => {
    throw new Error("a pipeline was made when it was needed");
  };
  device.createComputePipeline = sync;
  const other = doubling("@compute @workgroup_size(2) fn main() { x[0] *= f32(size.two); }");
  await Promise.all([gpu.prepare([doubling(), doubling(), other]), gpu.prepare([other])]);
  await gpu.prepare([doubling()]);
  assertEquals([asked, gpu.pipelines], [2, 2]);
  const x = buffer(4);
  gpu.write(x, Float32Array.of(3, 4, 5, 6));
  const program = new Program(gpu, [{ kernel: doubling(), memory: [x] }]);
  await gpu.prepare(program.kernels);
  program.run();
  assertEquals([...await gpu.read(x)], [6, 4, 5, 6]);
  program.dispose();
});

Deno.test("a shader that does not compile before it is needed is reported the same way", async () => {
  await using gpu = await Gpu.open();
  const broken = doubling("@compute @workgroup_size(1) fn main() { y[0] = 1.0; }");
  const refused = () => gpu.prepare([doubling(), broken]);
  const error = await assertRejects(refused, GpuFailedError, "Kernel doubling was refused: ");
  assert(/no definition in scope for identifier: `y`|unresolved value 'y'/.test(error.message), error.message);
  // A text that compiles, and of which there is no pipeline.
  await using second = await Gpu.open();
  const nameless = doubling("@compute @workgroup_size(1) fn start() { x[0] *= f32(size.two); }");
  await assertRejects(() => second.prepare([nameless]), GpuFailedError, "Kernel doubling was refused: ");
});

Deno.test("where Deno takes long to make pipelines, other threads are given all that are still to be made, once", async () => {
  const { now } = performance;
  const { Worker } = globalThis;
  const scaled = (factor: number) =>
    doubling(`@compute @workgroup_size(1) fn main() { x[0] *= f32(size.two) * ${factor}.0; }`);
  const kernels = Array.from({ length: 8 }, (_, i) => scaled(i));
  const given: string[] = [];
  class Thread {
    onmessage?: (message: { readonly data: number }) => void;
    postMessage(texts: readonly string[]) {
      given.push(...texts);
      this.onmessage!({ data: texts.length });
    }
    terminate() {}
  }
  /** How many were given away while each pipeline took this long. */
  const givenAt = async (milliseconds: number, software: boolean) => {
    await using gpu = await Gpu.open({ webgpu: "deno" });
    Object.assign(gpu, { adapter: { ...gpu.adapter, software } });
    const { device } = gpu;
    const make = device.createComputePipelineAsync.bind(device);
    let clock = 0;
    performance.now = () => clock;
    device.createComputePipelineAsync = (descriptor) => {
      clock += milliseconds;
      return make(descriptor);
    };
    given.length = 0;
    await gpu.prepare([...kernels.slice(0, 6), kernels[5]!], kernels.slice(4));
    assertEquals(gpu.pipelines, 6);
    const first = given.toSorted();
    await gpu.prepare(kernels);
    assertEquals(gpu.pipelines, 8);
    assertEquals(given.toSorted(), first);
    return first;
  };
  Object.assign(globalThis, { Worker: Thread });
  try {
    const texts = (from: number) => kernels.slice(from).map(({ wgsl }) => wgsl).toSorted();
    assertEquals(await givenAt(300, false), texts(1));
    assertEquals(await givenAt(130, false), texts(2));
    assertEquals(await givenAt(30, false), []);
    assertEquals(await givenAt(300, true), []);
  } finally {
    performance.now = now;
    Object.assign(globalThis, { Worker });
  }
});

Deno.test("a command that breaks WebGPU's rules is reported", async () => {
  await using gpu = await Gpu.open();
  // A texture cannot be bound where a buffer is declared.
  const texture: Memory = { layout: textureLayout(4, 4), label: "x", kept: true };
  new Program(gpu, [{ kernel: doubling(), memory: [texture] }]).run();
  await assertRejects(() => gpu.finish(), GpuFailedError, "The GPU refused a command: ");
});

Deno.test("what was refused once stays refused", async () => {
  const { gpu, report } = await openFakeGpu();
  report(new GPUValidationError("first"));
  report(new GPUValidationError("second"));
  report(new GPUOutOfMemoryError("third"));
  for (let i = 0; i < 2; i++) assertThrows(() => gpu.check(), GpuFailedError, "first");
  await assertRejects(() => gpu.finish(), GpuFailedError, "first");
  await gpu[Symbol.asyncDispose]();
});

/** Allocates a kept texture and buffer, a program's memory and uniforms, and the host's side of a read. */
async function useMemory({ gpu }: FakeGpu): Promise<void> {
  const [x, y] = [buffer(64), { layout: textureLayout(4, 10), label: "y", kept: true }];
  gpu.write(x, new Float32Array(64));
  gpu.write(y, new Float32Array(40));
  const program = new Program(gpu, [{ kernel: doubling(), memory: [{ ...buffer(32), kept: false }] }]);
  program.run();
  await gpu.read(x);
  program.dispose();
}

Deno.test("each allocation that does not fit is reported with what was in use", async () => {
  // In order: buffer, texture, a program's memory, its uniforms, the host's side of a read.
  const inUse = [0, 256, 416, 544, 544];
  for (const [i, bytes] of inUse.entries()) {
    const fake = await openFakeGpu(i + 1);
    const text = `Out of GPU memory with ${(bytes / 2 ** 20).toFixed(1)} MiB in use: Not enough memory left`;
    await assertRejects(() => useMemory(fake), GpuMemoryError, text);
    await fake.gpu[Symbol.asyncDispose]();
  }
  const enough = await openFakeGpu(inUse.length + 1);
  await useMemory(enough);
  await enough.gpu[Symbol.asyncDispose]();
});

Deno.test("a GPU that is lost before it is used is reported", async () => {
  const { gpu, lose } = await openFakeGpu();
  await lose("unplugged");
  await assertRejects(() => gpu.finish(), GpuFailedError, "The GPU was lost: unplugged");
  await assertRejects(() => gpu.read(buffer(4)), GpuFailedError, "The GPU was lost: unplugged");
  await gpu[Symbol.asyncDispose]();
});

Deno.test("a GPU that is lost while it works is reported", async () => {
  const { gpu, lose } = await openFakeGpu();
  const x = buffer(4);
  gpu.write(x, new Float32Array(4));
  new Program(gpu, [{ kernel: doubling(), memory: [x] }]).run();
  const reading = gpu.read(x);
  const losing = lose("timed out");
  await assertRejects(() => reading, GpuFailedError, "The GPU was lost: timed out");
  await losing;
  await gpu[Symbol.asyncDispose]();
});

Deno.test("a GPU that is lost after a result keeps the result and reports itself at the next use", async () => {
  const { gpu, lose } = await openFakeGpu();
  const x = buffer(4);
  gpu.write(x, Float32Array.of(1, 2, 3, 4));
  assertEquals([...await gpu.read(x)], [1, 2, 3, 4]);
  await lose("unplugged");
  assertThrows(() => gpu.check(), GpuFailedError, "unplugged");
  await gpu[Symbol.asyncDispose]();
});

Deno.test("closing a GPU is not a failure", async () => {
  const gpu = await Gpu.open();
  gpu.write(buffer(4), new Float32Array(4));
  await gpu[Symbol.asyncDispose]();
  await gpu.device.lost;
  gpu.check();
  assertEquals(gpu.bytes, 0);
});

Deno.test("no adapter is explained with what to install", async () => {
  const error = await assertRejects(
    () => withNavigatorGpu(null, () => Gpu.open({ webgpu: "deno" })),
    NoGpuError,
    "No usable GPU",
  );
  assert(error.message.includes("apt-get install mesa-vulkan-drivers"));
});

Deno.test("an adapter that refuses a device is named", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const refusing = override(adapter, { requestDevice: () => Promise.reject(new Error("busy")) });
  const text = `The GPU ${adapter.info.description} refused a device`;
  const error = await assertRejects(
    () => withNavigatorGpu(refusing, () => Gpu.open({ webgpu: "deno" })),
    NoGpuError,
    text,
  );
  assertEquals((error.cause as Error).message, "busy");
});

Deno.test("an adapter without subgroups is opened without them", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const plain = override(adapter, {
    requestDevice: (descriptor: GPUDeviceDescriptor) =>
      [...descriptor.requiredFeatures ?? []].includes("subgroups" as GPUFeatureName)
        ? Promise.reject(new TypeError("no subgroups"))
        : adapter.requestDevice(descriptor),
  });
  await using gpu = await withNavigatorGpu(plain, () => Gpu.open({ webgpu: "deno" }));
  assert(!gpu.device.features.has("subgroups" as GPUFeatureName));
});
