/**
 * UniPC: Zhao et al., "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models",
 * arXiv 2302.04867, solving for the image, up to second order.
 * @module
 */
import { type Combination, combine, difference } from "./combination.ts";
import { solver } from "./dpm_solver.ts";
import { levelOfSigma } from "./noise_schedule.ts";
import { predict } from "./prediction.ts";
import type { Problem, Sampler } from "./sampler.ts";
import type { Settings } from "./settings.ts";
import { solverPoints } from "./spacing.ts";

/** Each output first corrects the step that led to it (algorithm 1), then predicts the next (algorithm 2). */
export function unipc(problem: Problem): Sampler {
  const { settings } = problem;
  const points = solverPoints(problem);
  const { sigmas, timesteps } = points;

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
      const { image } = predict(settings, levelOfSigma(sigmas[index]!), inputs);
      const corrected = done === 0 ? sample : unify(settings, {
        sigmas: [sigmas[index - 2]!, sigmas[index - 1]!, sigmas[index]!],
        sample: start,
        images: [newest, oldest].slice(0, orderAt(index - 1, done - 1)),
        reached: image,
      });
      const next = unify(settings, {
        sigmas: [sigmas[index - 1]!, sigmas[index]!, sigmas[index + 1]!],
        sample: corrected,
        images: [image, newest].slice(0, orderAt(index, done)),
      });
      return [next, corrected, image, newest];
    },
  };
}

/** One step, predicted or corrected. */
interface Stretch {
  /** Of the step before, and of the start and the end of this one. */
  readonly sigmas: readonly [before: number, from: number, to: number];
  /** The sample at the start. */
  readonly sample: Combination;
  /** The images seen at the start and, for second order, before. */
  readonly images: readonly Combination[];
  /** The image seen at the end, to correct with. */
  readonly reached?: Combination;
}

/** The exponential integrator of the image; to correct, the image at the end is one more point. */
function unify(settings: Settings, { sigmas: [before, from, to], sample, images, reached }: Stretch): Combination {
  const [now, next] = [levelOfSigma(from), levelOfSigma(to)];
  const [image, earlier] = images as [Combination, Combination?];
  const h = Math.log(from / to);
  const phi = Math.expm1(-h);
  const scale = settings.solver_type === "bh1" ? -h : phi;
  const slopes: (readonly [weight: number, of: Combination])[] = [];
  if (earlier !== undefined && reached !== undefined) {
    const position = Math.log(from / before) / h;
    const phi1 = -phi / h - 1;
    const phi2 = -phi1 / h - 1 / 2;
    const total = phi1 / scale;
    const weight = (total - 2 * phi2 / scale) / (1 - position);
    slopes.push([weight, difference(earlier, image, position)], [total - weight, difference(reached, image, 1)]);
  } else if (reached !== undefined) {
    slopes.push([1 / 2, difference(reached, image, 1)]);
  } else if (earlier !== undefined) {
    slopes.push([1 / 2, difference(earlier, image, Math.log(from / before) / h)]);
  }
  return combine(
    [next.noise / now.noise, sample],
    [-next.signal * phi, image],
    ...slopes.map(([weight, slope]) => [-next.signal * scale * weight, slope] as const),
  );
}
