/**
 * What a machine reaches at this moment in registers and in memory: no kernel is faster, and a measurement that was
 * taken while these are low says little.
 * @module
 */
import type { DeviceOptions } from "./device.ts";
import { Gpu } from "./gpu.ts";
import { kernel, unroll } from "./kernel.ts";
import { chooseBackends } from "./mod.ts";
import { Ops } from "./ops.ts";
import { Program } from "./program.ts";
import type { Memory } from "./tensor.ts";

/** Rates of kernels that do nothing else. */
export interface Ceilings {
  /** Fused multiply-adds of float32 in registers, two operations each, in 10^12 a second. */
  readonly teraflops: number;
  /** A tensor copied by the kernels in use, read and written, in 10^9 bytes a second. */
  readonly gigabytes: number;
}

const THREADS = 64;

/** Four vectors of four sums: a CPU's 16 registers of 8 lanes, and enough that no sum waits for itself. */
const SUMS = 4;

/** Multiply-adds of each sum in a turn of the loop. */
const CHAIN = 8;

const TURNS = 1000;

/** Shorter passes measure their own start. */
const LEAST_MILLISECONDS = 1;

const PASSES = 5;

/**
 * Measures both ceilings, on a device of its own.
 *
 * @throws {NoGpuError} when there is no GPU, or it has no timestamps.
 */
export async function measureCeilings(options?: DeviceOptions): Promise<Ceilings> {
  await using gpu = await Gpu.open(options);
  const { exact } = await chooseBackends(gpu);
  return { teraflops: await measureSums(gpu), gigabytes: await measureCopy(new Ops(gpu, exact)) };
}

async function measureSums(gpu: Gpu): Promise<number> {
  const layout = { kind: "buffer", element: "f32", stride: 4, bytes: 16 } as const;
  const out: Memory = { layout, label: "sums", kept: true };
  for (let workgroups = 16;; workgroups *= 2) {
    const program = new Program(gpu, [{ kernel: sumsKernel(workgroups), memory: [out] }]);
    const milliseconds = Math.min(...await program.time(PASSES));
    program.dispose();
    const operations = 2 * 4 * SUMS * CHAIN * TURNS * THREADS * workgroups;
    if (milliseconds >= LEAST_MILLISECONDS) return operations / milliseconds / 1e9;
  }
}

/** Sums in registers; the store that never happens keeps them from being left out. */
function sumsKernel(workgroups: number) {
  return kernel({
    name: "sums in registers",
    ports: [{ kind: "buffer", name: "out", access: "read_write", element: "f32" }],
    sizes: { turns: TURNS },
    body: `
@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32) {
  let x = vec4<f32>(f32(thread) * 0.001, 0.5, 0.25, 0.125);
  ${unroll(SUMS, (i) => `var sum${i} = x * ${i}.0; let factor${i} = x * 0.${i + 1};`)}
  for (var turn = 0; turn < size.turns; turn++) {
    ${unroll(CHAIN, () => unroll(SUMS, (i) => `sum${i} = fma(sum${i}, factor${i}, x);`))}
  }
  let total = ${Array.from({ length: SUMS }, (_, i) => `sum${i}`).join(" + ")};
  // Of all four: a component that nothing reads would be left out of every sum.
  if (total.x + total.y + total.z + total.w == 12345.678) { out[0] = total.y; }
}`,
    workgroups: [workgroups, 1, 1],
  });
}

/** A copy of 128 MiB, more than caches hold. */
async function measureCopy(ops: Ops): Promise<number> {
  const shape = { batch: 1, channels: 512, height: 256, width: 256 };
  const [from, to] = [ops.keep(shape, "copied from"), ops.keep(shape, "copied to")];
  const program = ops.record(() => ops.copy(from, to));
  const milliseconds = Math.min(...await program.time(PASSES));
  return 2 * 4 * 512 * 256 * 256 / milliseconds / 1e6;
}
