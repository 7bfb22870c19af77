/**
 * `torch.rand` and `torch.randn` of a CPU generator: MT19937, then Box-Muller in one of two ways by size.
 * @module
 */
import { createMersenneTwister } from "./mersenne_twister.ts";
import { formats, type NoiseSource, type NumberFormat } from "./noise_source.ts";

/** One `torch.Generator` on the CPU. */
export interface TorchCpu extends NoiseSource {
  /** `torch.rand`: as many draws from [0, 1) as `elements`. */
  uniform(elements: number): Float32Array<ArrayBuffer>;
}

/** From this many elements on torch fills the tensor with uniform numbers and transforms them in blocks. */
const BLOCK = 16;

/**
 * The state of `torch.Generator().manual_seed(seed)`. Numbers of `format` are rounded after every operation, as torch
 * does; the last bit differs in one of six, where torch has polynomials of its own for the sine and the logarithm.
 */
export function createTorchCpu(seed: bigint, format: NumberFormat = "float32"): TorchCpu {
  const word = createMersenneTwister(seed);
  const { significantBits, round } = formats[format];
  let spare: number | undefined;

  function uniform(elements: number): Float32Array<ArrayBuffer> {
    const range = 2 ** significantBits;
    return Float32Array.from({ length: elements }, () => (word() % range) / range);
  }

  /** In [0, 1) with 53 bits: the high word is drawn first. */
  function uniformDouble(): number {
    const high = word() & 0x1fffff;
    return (high * 2 ** 32 + word()) / 2 ** 53;
  }

  /** Box-Muller in float64. The sine branch waits for the next call, across tensors too. */
  function normalSingle(): number {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const angle = 2 * Math.PI * uniformDouble();
    const radius = Math.sqrt(-2 * Math.log1p(-uniformDouble()));
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Box-Muller in place over 16 uniform numbers: element i and element i + 8 make a pair. */
  function transform(block: Float32Array): void {
    for (let i = 0; i < BLOCK / 2; i++) {
      const radius = round(Math.sqrt(-2 * round(Math.log(round(1 - block[i]!)))));
      const angle = round(Math.fround(2 * Math.PI) * block[i + BLOCK / 2]!);
      block[i] = round(radius * round(Math.cos(angle)));
      block[i + BLOCK / 2] = round(radius * round(Math.sin(angle)));
    }
  }

  function normal(elements: number): Float32Array<ArrayBuffer> {
    if (elements < BLOCK) return Float32Array.from({ length: elements }, () => round(normalSingle()));
    const values = uniform(elements);
    const whole = elements - elements % BLOCK;
    for (let start = 0; start < whole; start += BLOCK) transform(values.subarray(start, start + BLOCK));
    if (whole < elements) {
      // A ragged end: the last 16 elements are drawn afresh, over some that were done already.
      const tail = uniform(BLOCK);
      transform(tail);
      values.set(tail, elements - BLOCK);
    }
    return values;
  }

  return { uniform, normal };
}
