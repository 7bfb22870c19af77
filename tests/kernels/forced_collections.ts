/**
 * Works with Dawn's null backend while V8 is made to collect what nothing refers to, as it does sooner or later:
 * `deno run -A --v8-flags=--expose-gc forced_collections.ts FOLDER`, where Dawn's package is. Of 8 runs in which nobody
 * held Dawn's instance none came to its end.
 * @module
 */
import { Gpu } from "../../kernels/gpu.ts";
import { kernel } from "../../kernels/kernel.ts";
import { Program } from "../../kernels/program.ts";
import type { Memory } from "../../kernels/tensor.ts";

const ROUNDS = 400;

/** Rounds from one collection to the next. */
const EVERY = 20;

const { gc: collect } = globalThis as unknown as { gc(): void };

function memory(label: string): Memory {
  return { layout: { kind: "buffer", element: "f32", stride: 64, bytes: 256 }, label, kept: true };
}

/** Buffers, a pipeline of its own, bind groups, a submission, a wait, a map and error scopes, all left behind. */
async function round(gpu: Gpu, number: number): Promise<void> {
  const [x, staying] = [memory("x"), memory("never freed")];
  gpu.write(x, new Float32Array(64).fill(number));
  gpu.write(staying, new Float32Array(64));
  const add = kernel({
    name: "add",
    ports: [{ kind: "buffer", name: "x", access: "read_write", element: "f32" }],
    sizes: { count: 64 },
    body: `@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) { if (i32(i) < size.count) { x[i] += ${number}.0; } }`,
    workgroups: [1, 1, 1],
  });
  const program = new Program(gpu, [{ kernel: add, memory: [x] }]);
  program.run();
  await gpu.finish();
  const values = await gpu.read(x);
  if (values.length !== 64) throw new Error(`${values.length} values`);
  program.dispose();
  gpu.free(x);
}

const [folder] = Deno.args;
await using gpu = await Gpu.open({ webgpu: "dawn", dawn: folder!, flags: ["backend=null"] });
for (let i = 0; i < ROUNDS; i++) {
  await round(gpu, i);
  if (i % EVERY === 0) collect();
}
await new Blob([`${gpu.pipelines} pipelines\n`]).stream().pipeTo(Deno.stdout.writable);
