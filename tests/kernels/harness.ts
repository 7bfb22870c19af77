/**
 * What kernel tests share: random arrays, a device, and a comparison that says where two arrays differ.
 * @module
 */
import { bufferBackend } from "../../kernels/buffer/mod.ts";
import type { Backend } from "../../kernels/backend.ts";
import { Gpu } from "../../kernels/gpu.ts";
import type { Launch } from "../../kernels/launch.ts";
import { type Layer, Ops } from "../../kernels/ops.ts";
import { AUTO, type Optimizations } from "../../kernels/optimizations.ts";
import { Program } from "../../kernels/program.ts";
import type { NumberArray } from "../../kernels/reference/array.ts";
import { textureBackend } from "../../kernels/texture/mod.ts";
import { type Layout, type Memory, shapeText, type Tensor } from "../../kernels/tensor.ts";

/** Half the distance from 1 to the next float32. */
export const EPSILON = 2 ** -24;

/**
 * The error that `4 epsilon sqrt(K) |a| |b|` allows a dot product of `length` terms, each about as large as `size`: a
 * third for numbers uniform in -1 to 1.
 */
export function dotTolerance(length: number, size = 1 / 3): number {
  return 4 * EPSILON * Math.sqrt(length) * length * size;
}

/**
 * The error of SiLU or GELU at `x` up to `most`: WGSL promises `exp` to 3 + 2|x| units in the last place. What the
 * argument is off by comes on top, times 1.13 at most, the steepest that either is.
 */
export function activationTolerance(most: number): number {
  return 2 * EPSILON * (3 + 2 * most) * most;
}

/** The largest magnitude in an array. */
export function highest(x: NumberArray): number {
  return x.values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
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

/** Every backend, for tests that run on each; what the second may use is what llvmpipe has. */
export const BACKENDS: readonly Backend[] = [
  textureBackend,
  bufferBackend({ subgroups: true, threads: 1024, workgroupBytes: 32768, float16: "storage" }),
];

/** The buffer backend with float16 arithmetic, where the adapter has it. */
export const HALF_BACKEND: Backend = bufferBackend({
  subgroups: true,
  threads: 1024,
  workgroupBytes: 32768,
  float16: "arithmetic",
});

/** The same with matrices of the shapes that adapters offer: of NVIDIA's GPUs and AMD's, Intel's, Apple's and llvmpipe's. */
export const MATRIX_BACKENDS: readonly Backend[] = [
  { shape: { m: 16, n: 16, k: 16 }, lanes: 32 },
  { shape: { m: 8, n: 16, k: 16 }, lanes: 16 },
  { shape: { m: 8, n: 8, k: 8 }, lanes: 32 },
  { shape: { m: 8, n: 8, k: 8 }, lanes: 8 },
].map((matrices) =>
  bufferBackend({ subgroups: true, threads: 1024, workgroupBytes: 49152, float16: "arithmetic", matrices })
);

/** What a kernel test is given. */
export interface Bench {
  readonly ops: Ops;
  /** An array as a tensor on the GPU; memory between and after its columns holds NaN. */
  tensor(x: NumberArray): Tensor;
  /** A layer `[out, in, size, size]`, its weights in float32 or float16. */
  layer(parts: LayerParts): Layer;
  /** Weights and biases of a normalisation. */
  affine(weight: ArrayLike<number>, bias: ArrayLike<number>): Tensor;
  /** Records, runs and reads one operation. All memory it passes values through holds NaN before. */
  run(build: () => Tensor): Promise<NumberArray>;
  /** Names of the kernels of the last {@link run}. */
  readonly ran: readonly string[];
}

/** See {@link Bench.layer}. */
export interface LayerParts {
  readonly weights: Float64Array;
  readonly bias?: Float64Array;
  readonly out: number;
  readonly size: number;
  readonly half?: boolean;
}

/** Defines a test for each backend, with the optimizations that are `on`; its steps share a device. */
export function testBackends(
  name: string,
  test: (bench: Bench, t: Deno.TestContext) => Promise<void>,
  on: Optimizations = AUTO,
): void {
  for (const backend of BACKENDS) {
    Deno.test(`${backend.name}: ${name}`, async (t) => {
      await using gpu = await Gpu.open();
      await test(createBench(new TakenOps(gpu, backend, { optimizations: on })), t);
      await gpu.finish();
    });
  }
}

/** Keeps the launches it is given. */
export class TakenOps extends Ops {
  #taken: Launch[] = [];

  override launch(...launches: readonly Launch[]): void {
    this.#taken.push(...launches);
  }

  /** At once: programs are made of the launches alone. */
  protected override require(act: () => void): void {
    act();
  }

  /** The launches since it was asked last. */
  take(): readonly Launch[] {
    return this.#taken.splice(0);
  }
}

/** What tests call, around operations of one backend. */
export function createBench(ops: TakenOps): Bench {
  const { gpu, backend } = ops;
  let ran: readonly string[] = [];
  return {
    ops,
    get ran() {
      return ran;
    },
    tensor(x) {
      const kept = ops.keep(x, "input");
      gpu.write(kept.memory, encodePoisoned(backend, x, kept.memory.layout));
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
      try {
        const launches = ops.take().map(({ kernel, memory }) => ({ kernel, memory: memory.map(home) }));
        ran = launches.map(({ kernel }) => kernel.name);
        const program = new Program(gpu, launches);
        program.run();
        const values = Float64Array.from(await ops.read({ ...result, memory: home(result.memory) }));
        program.dispose();
        return { ...result, values };
      } finally {
        for (const memory of homes.values()) gpu.free(memory);
      }
    },
  };
}

/**
 * The bytes of `x [batch, channels, height, width]` with NaN wherever the layout holds no value; but for the pad rows
 * of a texel, which are part of it: they are 0.
 */
function encodePoisoned(backend: Backend, x: NumberArray, layout: Layout): Float32Array<ArrayBuffer> {
  const { batch, channels } = x;
  const count = x.height * x.width;
  const shape = { layout, rows: channels, batch, pixels: count };
  const rows = layout.kind === "texture" ? Math.ceil(channels / 4) * 4 : channels;
  const held = backend.encode({ ...shape, rows }, new Float32Array(rows * batch * count).fill(1));
  const channelMajor = Float32Array.from(x.values, (_, i) => {
    const [channel, sample] = [Math.floor(i / count / batch), Math.floor(i / count) % batch];
    return x.values[(sample * channels + channel) * count + i % count]!;
  });
  return backend.encode(shape, channelMajor).map((value, i) => held[i] ? value : NaN);
}

/** Elements of a layout, four bytes each. */
function elementsOf(layout: Layout): number {
  return layout.kind === "buffer" ? layout.bytes / 4 : layout.width * layout.height * 4;
}

/** Fails with index, got, want and allowed where two arrays differ by more than `allowed`, absolute. */
export function assertClose(got: NumberArray, want: NumberArray, allowed: number, what: string): void {
  if (shapeText(got) !== shapeText(want)) throw new Error(`${what}: got ${shapeText(got)}, want ${shapeText(want)}`);
  let worst = -1;
  let distance = 0;
  want.values.forEach((value, index) => {
    const difference = Math.abs(got.values[index]! - value);
    // Written so that NaN is the worst of all.
    if (!(difference <= distance)) {
      worst = index;
      distance = Number.isNaN(difference) ? Infinity : difference;
    }
  });
  if (distance > allowed) {
    throw new Error(
      `${what}: at ${worst} of ${shapeText(want)} got ${got.values[worst]}, want ${
        want.values[worst]
      }, allowed ${allowed}`,
    );
  }
}
