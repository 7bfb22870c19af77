/**
 * Element-wise operations as their definitions say.
 * @module
 */
import type { ValueFunction } from "../backend.ts";
import { map, type NumberArray, zeros } from "./array.ts";

/** The error function by a series of positive terms (Abramowitz and Stegun 7.1.6); beyond 6 it is 1 to float64. */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= 2 * x * x / (2 * n + 1);
    sum += term;
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

/** `x sigmoid(x)`. */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** `x Phi(x)` (arXiv 1606.08415), with the exact error function. */
export function gelu(x: number): number {
  return 0.5 * x * (1 + erf(x / Math.SQRT2));
}

/** `x sigmoid(1.702 x)`. */
export function quickGelu(x: number): number {
  return x / (1 + Math.exp(-1.702 * x));
}

/** `max(x, 0)`. */
export function relu(x: number): number {
  return Math.max(x, 0);
}

/** `x` above 0, else `x / 5`: the slope of ESRGAN (arXiv 1809.00219). */
export function leakyRelu(x: number): number {
  return x < 0 ? x / 5 : x;
}

/** `3 tanh(x / 3)`. */
export function softClamp(x: number): number {
  return 3 * Math.tanh(x / 3);
}

/** From -1 to 1 to 0 to 1. */
export function toUnit(x: number): number {
  return (x + 1) / 2;
}

/** From 0 to 1 to -1 to 1. */
export function fromUnit(x: number): number {
  return 2 * x - 1;
}

/** The functions of single values, by the names that kernels have for them. */
export const FUNCTIONS: Readonly<Record<ValueFunction, (x: number) => number>> = {
  silu,
  gelu,
  quick_gelu: quickGelu,
  relu,
  leaky_relu: leakyRelu,
  soft_clamp: softClamp,
  to_unit: toUnit,
  from_unit: fromUnit,
};

/** The first half of the channels times the GELU of the second (arXiv 2002.05202, GEGLU). */
export function geglu(x: NumberArray): NumberArray {
  const half = x.channels / 2;
  const pixels = x.height * x.width;
  return map(zeros(x.batch, half, x.height, x.width), (index) => {
    const sample = Math.floor(index / (half * pixels));
    const value = index + sample * half * pixels;
    return x.values[value]! * gelu(x.values[value + half * pixels]!);
  });
}

export function concat(x: NumberArray, y: NumberArray): NumberArray {
  const out = zeros(x.batch, x.channels + y.channels, x.height, x.width);
  const [xs, ys] = [x.values.length / x.batch, y.values.length / y.batch];
  for (let b = 0; b < x.batch; b++) {
    out.values.set(x.values.subarray(b * xs, (b + 1) * xs), b * (xs + ys));
    out.values.set(y.values.subarray(b * ys, (b + 1) * ys), b * (xs + ys) + xs);
  }
  return out;
}
