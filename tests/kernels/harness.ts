/**
 * What kernel tests share: random arrays, a device, and a comparison that says where two arrays differ.
 * @module
 */
import type { Family } from "../../kernels/family.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { type Layer, Ops } from "../../kernels/ops.ts";
import type { NumberArray } from "../../kernels/reference/array.ts";
import { textureFamily } from "../../kernels/texture/mod.ts";
import { shapeText, type Tensor } from "../../kernels/tensor.ts";

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
  const next = uniform(seed);
  const values = Float64Array.from({ length: batch * channels * height * width }, next);
  return { batch, channels, height, width, values };
}

/** Every family, for tests that run on each. */
export const FAMILIES: readonly Family[] = [textureFamily];

/** What a kernel test is given. */
export interface Bench {
  readonly ops: Ops;
  /** An array as a tensor on the GPU. */
  tensor(x: NumberArray): Tensor;
  /** A layer `[out, in, size, size]`, its weights in float32 or float16. */
  layer(parts: LayerParts): Layer;
  /** Weights and biases of a normalisation. */
  affine(weight: ArrayLike<number>, bias: ArrayLike<number>): Tensor;
  /** Records, runs and reads one operation. */
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

/** Runs `test` with the operations of a family. */
export async function withOps(family: Family, test: (bench: Bench) => Promise<void>): Promise<void> {
  await using gpu = await Gpu.open();
  const ops = new Ops(gpu, family);
  const tensor = (x: NumberArray) => {
    const kept = ops.keep(x, "input");
    ops.write(kept, Float32Array.from(x.values));
    return kept;
  };
  await test({
    ops,
    tensor,
    layer: ({ weights, bias, out, size, half }) =>
      ops.layer({
        out,
        in: weights.length / out / size / size,
        taps: size * size,
        data: half ? new Uint16Array(Float16Array.from(weights).buffer) : Float32Array.from(weights),
      }, bias && Float32Array.from(bias)),
    affine: (weight, bias) => ops.affine(Float32Array.from(weight), Float32Array.from(bias)),
    async run(build) {
      let out: Tensor | undefined;
      const program = ops.record(() => {
        const result = build();
        out = ops.keep(result, "output");
        // NaN in the way of every store: what is not written fails the comparison.
        ops.write(out, new Float32Array(result.batch * result.channels * result.height * result.width).fill(NaN));
        ops.copy(result, out);
      });
      program.run();
      const values = Float64Array.from(await ops.read(out!));
      program.dispose();
      return { ...out!, values };
    },
  });
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
