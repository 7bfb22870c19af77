/**
 * Random numbers that equal torch's, so that a seed means the same picture here and there.
 * @module
 */
import type { NoiseSource, NumberFormat } from "./noise_source.ts";
import { createTorchCpu } from "./torch_cpu.ts";
import { createTorchCuda } from "./torch_cuda.ts";

export type { NoiseSource, NumberFormat };

/** What decides a {@link NoiseSource} beside its seed. */
export interface NoiseOptions {
  /** The type of torch's tensor, "float32" by default; a float16 tensor of the CPU is drawn another way. */
  readonly format?: NumberFormat;
}

/**
 * The stream of `torch.Generator(rng).manual_seed(seed)`.
 * @throws {RangeError} for a seed outside 0 to 2^64 - 1.
 */
export function createNoiseSource(rng: "cpu" | "cuda", seed: bigint, options: NoiseOptions = {}): NoiseSource {
  if (BigInt.asUintN(64, seed) !== seed) throw new RangeError(`Seed ${seed} is not within 0 to 2^64 - 1`);
  const { format = "float32" } = options;
  return rng === "cpu" ? createTorchCpu(seed, format) : createTorchCuda(seed, format);
}
