/**
 * What single kernels reach on shapes that do not depend on a model, so that machines and versions can be compared.
 * @module
 */
import type { DeviceOptions } from "./device.ts";
import { Gpu } from "./gpu.ts";
import { chooseBackends } from "./mod.ts";
import { Ops } from "./ops.ts";
import { AUTO, BASELINE, type Optimizations } from "./optimizations.ts";
import type { Backend } from "./backend.ts";
import type { Program } from "./program.ts";
import type { Tensor } from "./tensor.ts";

export interface KernelRate {
  readonly name: string;
  readonly elements: "f32" | "f16";
  /** Floating-point operations by the definition of what is computed, whatever the kernel does. */
  readonly flops: number;
  readonly milliseconds: number;
}

/** What {@link measureRates} measures: how it is built, and what it is worth. */
interface Case {
  readonly name: string;
  readonly flops: number;
  readonly kernels: Optimizations;
  readonly build: (ops: Ops) => Tensor;
}

/** Every optimization for every shape that it can run. */
const FORCED: Optimizations = { ...AUTO, shapes: "all" };

/** How long a kernel runs before it is measured, in milliseconds: a GPU that was idle is slow at first. */
const WARM_MILLISECONDS = 200;

/** How long passes run between two waits, in milliseconds: each wait leaves the GPU idle for 10 ms. */
const BUSY_MILLISECONDS = 100;

/** Fewest and most passes; the fastest counts. */
const PASSES = { least: 5, most: 500 };

const SHAPES = {
  software: {
    products: [512],
    convolutions: [[64, 32, 1, "direct"], [64, 32, 1, "Winograd"], [320, 32, 1, "Winograd"]],
    attention: [1024, 32, 1, 1],
  },
  hardware: {
    products: [4096],
    convolutions: [[320, 64, 2, "direct"], [320, 64, 2, "Winograd"], [512, 128, 1, "Winograd"]],
    attention: [4096, 40, 8, 2],
  },
} as const;

/**
 * Measures products, convolutions and attention, on a device of its own.
 *
 * @throws {NoGpuError} when there is no GPU, or it has no timestamps.
 */
export async function measureRates(options?: DeviceOptions): Promise<readonly KernelRate[]> {
  await using gpu = await Gpu.open(options);
  const { exact, half } = await chooseBackends(gpu);
  const rates: KernelRate[] = [];
  for (const backend of new Set([exact, half])) {
    for (const { name, flops, kernels, build } of cases(gpu.adapter.software)) {
      const ops = new Ops(gpu, backend, { optimizations: kernels });
      const program = ops.record(() => build(ops));
      const milliseconds = await fastest(program);
      program.dispose();
      ops.dispose();
      rates.push({ name, elements: elementsOf(backend), flops, milliseconds });
    }
  }
  return rates;
}

function cases(software: boolean): readonly Case[] {
  const { products, convolutions, attention } = SHAPES[software ? "software" : "hardware"];
  const [tokens, width, heads, batch] = attention;
  return [
    ...products.map((size): Case => ({
      name: `product ${size}x${size}x${size}`,
      flops: 2 * size ** 3,
      kernels: AUTO,
      build: (ops) => ops.linear(input(ops, 1, size, size), layer(ops, size, size, 1)),
    })),
    ...convolutions.map(([channels, side, batch, kernel]): Case => ({
      name: `convolution 3x3 ${channels} to ${channels}, ${batch}x${side}x${side}, ${kernel}`,
      flops: 18 * channels ** 2 * batch * side ** 2,
      kernels: kernel === "direct" ? BASELINE : FORCED,
      build: (ops) => ops.convolve(input(ops, batch, channels, side, side), layer(ops, channels, channels, 9)),
    })),
    {
      name: `attention ${heads}x${width}, ${batch}x${tokens} to ${tokens}, flash`,
      flops: 4 * batch * heads * width * tokens ** 2,
      kernels: FORCED,
      build(ops) {
        const [q, k, v] = [0, 1, 2].map(() => input(ops, batch, heads * width, tokens)) as [Tensor, Tensor, Tensor];
        return ops.attention(q, k, v, { heads });
      },
    },
  ];
}

/** Activations of numbers that are not 0, which would cost a GPU less power. */
function input(ops: Ops, batch: number, channels: number, height: number, width = 1): Tensor {
  const x = ops.keep({ batch, channels, height, width }, "input");
  ops.write(x, noise(batch * channels * height * width));
  const stored = ops.keep(x, "input", { exact: false });
  const program = ops.record(() => ops.copy(x, stored));
  program.run();
  program.dispose();
  ops.gpu.free(x.memory);
  return stored;
}

function layer(ops: Ops, out: number, inputs: number, taps: number) {
  const weights = new Float16Array(noise(out * inputs * taps).map((value) => value / Math.sqrt(inputs * taps)));
  return ops.layer({ out, in: inputs, taps, data: new Uint16Array(weights.buffer) });
}

function noise(count: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

async function fastest(program: Program): Promise<number> {
  const [, one] = await program.time(2) as [number, number];
  const passes = Math.min(PASSES.most, Math.max(PASSES.least, Math.ceil(BUSY_MILLISECONDS / one)));
  const started = performance.now();
  let best: number;
  do best = Math.min(...await program.time(passes)); while (performance.now() - started < WARM_MILLISECONDS);
  return best;
}

function elementsOf(backend: Backend): KernelRate["elements"] {
  const layout = backend.layout(4, 1, 4);
  return layout.kind === "buffer" && layout.element === "f16" ? "f16" : "f32";
}
