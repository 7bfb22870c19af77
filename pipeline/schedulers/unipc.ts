/**
 * UniPC: Zhao et al., "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models",
 * arXiv 2302.04867, solving for the image, up to second order.
 * @module
 */
import { type Combination, combine, difference } from "./combination.ts";
import { solver } from "./dpm_solver.ts";
import { predict } from "./prediction.ts";
import type { Problem, Sampler } from "./sampler.ts";
import type { Settings } from "./settings.ts";
import { type SolverPoints, solverPoints } from "./spacing.ts";

/** Each output first corrects the step that led to it (algorithm 1), then predicts the next (algorithm 2). */
export function unipc(problem: Problem): Sampler {
  const { settings } = problem;
  const points = solverPoints(problem);
  const { levels, timesteps } = points;

  function orderAt(index: number, done: number): number {
    const most = settings.lower_order_final ? timesteps.length - index : settings.solver_order;
    return Math.min(settings.solver_order, done + 1, most);
  }

  return {
    ...solver(settings, points),
    history: 3,
    step(inputs) {
      const { index, done, sample, history } = inputs;
      const [start, newest, oldest] = history as [Combination, Combination, Combination];
      const { image } = predict(settings, levels[index]!, inputs);
      const corrected = done === 0 ? sample : unify(settings, points, {
        from: index - 1,
        sample: start,
        images: [newest, oldest].slice(0, orderAt(index - 1, done - 1)),
        reached: image,
      });
      const next = unify(settings, points, {
        from: index,
        sample: corrected,
        images: [image, newest].slice(0, orderAt(index, done)),
      });
      return [next, corrected, image, newest];
    },
  };
}

/** One step, predicted or corrected. */
interface Stretch {
  /** The point that it starts from. */
  readonly from: number;
  readonly sample: Combination;
  /** The images seen at the start and, for second order, before. */
  readonly images: readonly Combination[];
  /** The image seen at the end, to correct with. */
  readonly reached?: Combination;
}

/** The exponential integrator of the image; to correct, the image at the end is one more point. */
function unify(settings: Settings, { sigmas, levels }: SolverPoints, stretch: Stretch): Combination {
  const { from, sample, images, reached } = stretch;
  const [now, next] = [levels[from]!, levels[from + 1]!];
  const [image, earlier] = images as [Combination, Combination?];
  const h = Math.log(sigmas[from]! / sigmas[from + 1]!);
  const before = Math.log(sigmas[from]! / sigmas[from - 1]!) / h;
  const phi = Math.expm1(-h);
  const scale = settings.solver_type === "bh1" ? -h : phi;
  const slopes: (readonly [weight: number, of: Combination])[] = [];
  if (earlier !== undefined && reached !== undefined) {
    const phi1 = -phi / h - 1;
    const phi2 = -phi1 / h - 1 / 2;
    const total = phi1 / scale;
    const weight = (total - 2 * phi2 / scale) / (1 - before);
    slopes.push([weight, difference(earlier, image, before)], [total - weight, difference(reached, image, 1)]);
  } else if (reached !== undefined) {
    slopes.push([1 / 2, difference(reached, image, 1)]);
  } else if (earlier !== undefined) {
    slopes.push([1 / 2, difference(earlier, image, before)]);
  }
  return combine(
    [next.noise / now.noise, sample],
    [-next.signal * phi, image],
    ...slopes.map(([weight, slope]) => [-next.signal * scale * weight, slope] as const),
  );
}
