import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { NoGpuError } from "../../kernels/errors.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { kernel } from "../../kernels/kernel.ts";
import { fillFromDevices } from "../../kernels/shader_cache.ts";
import { testDawn } from "../dawn_package.ts";

/** Seconds after which a process that should take three is taken to hang. */
const MOST_SECONDS = 300;

testDawn("Dawn survives forced collections of garbage", async (folder) => {
  const program = join(import.meta.dirname!, "forced_collections.ts");
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--v8-flags=--expose-gc", program, folder],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), 1000 * MOST_SECONDS);
  const { code, signal, stdout, stderr } = await child.output().finally(() => clearTimeout(timer));
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals([code, signal, text(stdout)], [0, null, "400 pipelines\n"], text(stderr));
});

testDawn("Dawn reports a text that it refuses, and says what it is", async (folder) => {
  const gpu = await Gpu.open({ webgpu: "dawn", dawn: folder, flags: ["backend=null"] });
  assertStringIncludes(gpu.adapter.webgpu, "Dawn ");
  const ports = [{ kind: "buffer", name: "x", access: "read_write", element: "f32" }] as const;
  const body = "@compute @workgroup_size(1) fn main() { x[0] = size.count; }";
  gpu.pipeline(kernel({ name: "wrong", ports, sizes: { count: 1 }, body, workgroups: [1, 1, 1] }));
  const error = await gpu.finish().then(() => undefined, (error) => error);
  assertStringIncludes(error.message, "Kernel wrong was refused: ");
  assertStringIncludes(error.message, "cannot assign 'i32' to 'f32'");
  await gpu[Symbol.asyncDispose]();
});

testDawn(
  "where the first of many pipelines takes long, other devices compile all that are missing, once",
  async (dawn) => {
    const options = { webgpu: "dawn", dawn, flags: ["backend=null"] } as const;
    const ports = [{ kind: "buffer", name: "x", access: "read_write", element: "f32" }] as const;
    const kernels = Array.from({ length: 9 }, (_, i) => {
      const body = `@compute @workgroup_size(1) fn main() { ${"x[0] *= f32(size.two);".repeat(i)} }`;
      return kernel({ name: `${i}`, ports, sizes: { two: 2 }, body, workgroups: [1, 1, 1] });
    });
    const { now } = performance;
    /** Devices beside its own, and what they compiled, while its pipelines take this long. */
    const othersAt = async (milliseconds: number, software = false) => {
      await using gpu = await Gpu.open(options);
      Object.assign(gpu, { adapter: { ...gpu.adapter, software } });
      const prototype: GPUDevice = Object.getPrototypeOf(gpu.device);
      const make = prototype.createComputePipelineAsync;
      const devices = new Map<GPUDevice, number>();
      let clock = 0;
      performance.now = () => clock;
      prototype.createComputePipelineAsync = function (this: GPUDevice, descriptor) {
        devices.set(this, (devices.get(this) ?? 0) + 1);
        clock += milliseconds;
        return make.call(this, descriptor);
      };
      try {
        await gpu.prepare(kernels.slice(0, 2), kernels.slice(2));
        // The longest is one of those that come later.
        assertEquals(gpu.pipelines, 3);
        await gpu.prepare(kernels);
        assertEquals([gpu.pipelines, devices.get(gpu.device)], [9, 9]);
      } finally {
        Object.assign(performance, { now });
        prototype.createComputePipelineAsync = make;
      }
      devices.delete(gpu.device);
      return [devices.size, [...devices.values()].reduce((sum, count) => sum + count, 0)];
    };
    const most = Math.min(6, navigator.hardwareConcurrency);
    assertEquals(await othersAt(300), [most, 8]);
    assertEquals(await othersAt(30), [0, 0]);
    assertEquals(await othersAt(300, true), [0, 0]);
  },
);

testDawn("what other devices cannot compile, or open, is left to whoever makes it", async (dawn) => {
  const options = { webgpu: "dawn", dawn, flags: ["backend=null"] } as const;
  const texts = ["not WGSL", "@compute @workgroup_size(1) fn main() {}"];
  assertEquals(await fillFromDevices(texts, options), 1);
  assertEquals(await fillFromDevices(texts, { ...options, dawn: "/nowhere" }), 0);
});

Deno.test("a Dawn that is not where it should be is no GPU", async () => {
  const error = await assertRejects(() => Gpu.open({ webgpu: "dawn", dawn: "/nowhere" }), NoGpuError);
  assertStringIncludes(error.message, "cannot be loaded from /nowhere");
});
