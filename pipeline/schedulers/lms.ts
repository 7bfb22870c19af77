/**
 * Linear multistep methods: a polynomial through the last slopes is integrated over the step.
 * @module
 */
import { combine } from "./combination.ts";
import { predict } from "./prediction.ts";
import { type Problem, type Sampler, varianceExploding } from "./sampler.ts";
import { sigmaPoints } from "./spacing.ts";

const LMS_ORDER = 4;

/**
 * k-diffusion's: Adams-Bashforth of order 4 on uneven sigmas. A run that starts late has a short history. diffusers
 * weighs that as if it were whole, and overshoots; here the order starts at 1, as in k-diffusion.
 */
export function lms(problem: Problem): Sampler {
  const { timesteps, sigmas } = sigmaPoints(problem);
  const scaling = varianceExploding(problem, (index) => sigmas[index]!);
  return {
    ...scaling,
    timesteps,
    order: 1,
    history: LMS_ORDER - 1,
    usesNoise: () => false,
    step({ index, done, sample, history, output }) {
      const { epsilon } = predict(problem.settings, scaling.levelAt(index), { sample, output });
      const slopes = [epsilon, ...history];
      const order = Math.min(done + 1, LMS_ORDER);
      const nodes = sigmas.slice(index + 1 - order, index + 1).reverse();
      const terms = nodes.map((_, i) => {
        const weight = (sigma: number) => lagrange(nodes, i, sigma);
        return [simpson(weight, sigmas[index]!, sigmas[index + 1]!), slopes[i]!] as const;
      });
      return [combine([1, sample], ...terms), ...slopes.slice(0, -1)];
    },
  };
}

/** The polynomial that is 1 at node `i` and 0 at the others, at `x`. */
function lagrange(nodes: readonly number[], i: number, x: number): number {
  return nodes.reduce((product, node, k) => k === i ? product : product * (x - node) / (nodes[i]! - node), 1);
}

/** The integral of `f`, exact for polynomials up to the third degree. */
function simpson(f: (x: number) => number, from: number, to: number): number {
  return (to - from) / 6 * (f(from) + 4 * f((from + to) / 2) + f(to));
}
