/**
 * DEIS: Zhang and Chen, "Fast sampling of diffusion models with exponential integrator", arXiv 2204.13902.
 * @module
 */
import { combine } from "./combination.ts";
import { solver, solverOrder } from "./dpm_solver.ts";
import { predict } from "./prediction.ts";
import type { Problem, Sampler } from "./sampler.ts";
import { solverPoints } from "./spacing.ts";

/** The log-rho variant: a polynomial in log sigma through the last outputs is integrated over sigma. */
export function deis(problem: Problem): Sampler {
  // The integrals need a last sigma above 0.
  const settings = { ...problem.settings, final_sigmas_type: "sigma_min" as const };
  const points = solverPoints({ ...problem, settings });
  const { sigmas, levels } = points;
  return {
    ...solver(settings, points),
    history: settings.solver_order - 1,
    step(inputs) {
      const { index, sample, history } = inputs;
      const [now, next] = [levels[index]!, levels[index + 1]!];
      const outputs = [predict(settings, now, inputs).epsilon, ...history];
      const order = solverOrder(settings, inputs, points);
      const nodes = Array.from({ length: order }, (_, back) => Math.log(sigmas[index - back]!));
      const terms = nodes.map((_, i) => {
        const integral = integrateOfLog(lagrange(nodes, i));
        return [next.signal * (integral(sigmas[index + 1]!) - integral(sigmas[index]!)), outputs[i]!] as const;
      });
      return [combine([next.signal / now.signal, sample], ...terms), ...outputs.slice(0, -1)];
    },
  };
}

/** Coefficients, constant first, of the polynomial that is 1 at node `i` and 0 at the others. */
function lagrange(nodes: readonly number[], i: number): readonly number[] {
  const others = nodes.filter((_, k) => k !== i);
  return others.reduce<number[]>((product, node) => {
    const scale = 1 / (nodes[i]! - node);
    return [...product, 0].map((coefficient, degree) => scale * ((product[degree - 1] ?? 0) - node * coefficient));
  }, [1]);
}

/** An antiderivative of `p(log x)`: it is `x q(log x)` where `q + q' = p`. */
function integrateOfLog(p: readonly number[]): (x: number) => number {
  const q = p.reduceRight<number[]>((above, coefficient, degree) => {
    return [coefficient - (degree + 1) * (above[0] ?? 0), ...above];
  }, []);
  return (x) => x * q.reduceRight((sum, coefficient) => sum * Math.log(x) + coefficient, 0);
}
