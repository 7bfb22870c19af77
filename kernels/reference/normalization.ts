/**
 * Group and layer normalisation as their definitions say (arXiv 1803.08494, arXiv 1607.06450).
 * @module
 */
import { map, type NumberArray } from "./array.ts";

function statistics(values: readonly number[]): { readonly mean: number; readonly variance: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length };
}

/** Normalises runs of values that `groupOf` puts together, then scales and shifts each channel. */
function normalize(
  x: NumberArray,
  groupOf: (index: number) => number,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  epsilon: number,
): NumberArray {
  const groups = new Map<number, number[]>();
  x.values.forEach((value, index) => {
    const group = groupOf(index);
    groups.set(group, groups.get(group) ?? []);
    groups.get(group)!.push(value);
  });
  const known = new Map([...groups].map(([group, values]) => [group, statistics(values)]));
  const pixels = x.height * x.width;
  return map(x, (index) => {
    const { mean, variance } = known.get(groupOf(index))!;
    const channel = Math.floor(index / pixels) % x.channels;
    return (x.values[index]! - mean) / Math.sqrt(variance + epsilon) * weight[channel]! + bias[channel]!;
  });
}

/** Normalises each sample's groups of channels. */
export function groupNorm(
  x: NumberArray,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  options: { readonly groups: number; readonly epsilon: number },
): NumberArray {
  const size = x.channels / options.groups * x.height * x.width;
  return normalize(x, (index) => Math.floor(index / size), weight, bias, options.epsilon);
}

/** Normalises each token over its channels. */
export function layerNorm(
  x: NumberArray,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  options: { readonly epsilon: number },
): NumberArray {
  const pixels = x.height * x.width;
  const token = (index: number) => Math.floor(index / (pixels * x.channels)) * pixels + index % pixels;
  return normalize(x, token, weight, bias, options.epsilon);
}
