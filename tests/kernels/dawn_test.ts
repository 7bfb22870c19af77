import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { NoGpuError } from "../../kernels/errors.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { kernel } from "../../kernels/kernel.ts";
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

Deno.test("a Dawn that is not where it should be is no GPU", async () => {
  const error = await assertRejects(() => Gpu.open({ webgpu: "dawn", dawn: "/nowhere" }), NoGpuError);
  assertStringIncludes(error.message, "cannot be loaded from /nowhere");
});
