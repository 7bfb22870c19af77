/**
 * What kernel tests share: random arrays, a device, and a comparison that says where two arrays differ.
 * @module
 */
import type { Family, Launch } from "../../kernels/family.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { type Layer, Ops } from "../../kernels/ops.ts";
import { Program } from "../../kernels/program.ts";
import type { NumberArray } from "../../kernels/reference/array.ts";
import { textureFamily } from "../../kernels/texture/mod.ts";
import { type Layout, type Memory, pixels, shapeText, type Tensor } from "../../kernels/tensor.ts";

/** Half the distance from 1 to the next float32. */
export const EPSILON = 2 ** -24;

/** The error that `4 epsilon sqrt(K) |a| |b|` allows a dot product of `length` values with the given deviations. */
export function dotTolerance(length: number, deviation = 1 / 3): number {
  return 4 * EPSILON * Math.sqrt(length) * length * deviation;
}

/** A generator of numbers uniform in -1 to 1, the same in every run. */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(state / 2 ** 31 - 1);
  };
}

/** An array of such numbers. */
export function random(seed: number, batch: number, channels: number, height: number, width: number): NumberArray {
  return { batch, channels, height, width, values: randomValues(seed, batch * channels * height * width) };
}

/** `count` such numbers. */
export function randomValues(seed: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, uniform(seed));
}

/** Every family, for tests that run on each. */
export const FAMILIES: readonly Family[] = [textureFamily];

/** What a kernel test is given. */
export interface Bench {
  readonly ops: Ops;
  /** An array as a tensor on the GPU; memory between and behind its columns holds NaN. */
  tensor(x: NumberArray): Tensor;
  /** A layer `[out, in, size, size]`, its weights in float32 or float16. */
  layer(parts: LayerParts): Layer;
  /** Weights and biases of a normalisation. */
  affine(weight: ArrayLike<number>, bias: ArrayLike<number>): Tensor;
  /** Records, runs and reads one operation. All memory it passes values through holds NaN before. */
  run(build: () => Tensor): Promise<NumberArray>;
}

/** See {@link Bench.layer}. */
export interface LayerParts {
  readonly weights: Float64Array;
  readonly bias?: Float64Array;
  readonly out: number;
  readonly size: number;
  readonly half?: boolean;
}

/** Defines a test for each family; its steps share a device. */
export function testFamilies(name: string, test: (bench: Bench, t: Deno.TestContext) => Promise<void>): void {
  for (const family of FAMILIES) {
    Deno.test(`${family.name}: ${name}`, async (t) => {
      await using gpu = await Gpu.open();
      await test(createBench(gpu, family), t);
      await gpu.finish();
    });
  }
}

/** Keeps the launches it is given. */
class Recorder extends Ops {
  #taken: Launch[] = [];

  override launch(...launches: readonly Launch[]): void {
    this.#taken.push(...launches);
  }

  take(): readonly Launch[] {
    return this.#taken.splice(0);
  }
}

function createBench(gpu: Gpu, family: Family): Bench {
  const ops = new Recorder(gpu, family);
  return {
    ops,
    tensor(x) {
      const kept = ops.keep(x, "input");
      ops.write(kept, Float32Array.from(x.values));
      return kept;
    },
    layer: ({ weights, bias, out, size, half }) =>
      ops.layer({
        out,
        in: weights.length / out / size / size,
        taps: size * size,
        data: half ? new Uint16Array(Float16Array.from(weights).buffer) : Float32Array.from(weights),
      }, bias && Float32Array.from(bias)),
    affine: (weight, bias) => ops.affine(Float32Array.from(weight), Float32Array.from(bias)),
    async run(build) {
      const result = build();
      const homes = new Map<Memory, Memory>();
      const home = (memory: Memory): Memory => {
        if (memory.kept) return memory;
        const known = homes.get(memory);
        if (known) return known;
        const made = { ...memory, kept: true };
        gpu.write(made, new Float32Array(elementsOf(memory.layout)).fill(NaN));
        homes.set(memory, made);
        return made;
      };
      const launches = ops.take().map(({ kernel, memory }) => ({ kernel, memory: memory.map(home) }));
      const program = new Program(gpu, launches);
      program.run();
      const values = Float64Array.from(await ops.read({ ...result, memory: home(result.memory) }));
      program.dispose();
      for (const memory of homes.values()) gpu.free(memory);
      return { ...result, values };
    },
  };
}
