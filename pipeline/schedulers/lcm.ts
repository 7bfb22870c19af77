/**
 * Consistency sampling: Luo et al., "Latent consistency models", arXiv 2310.04378.
 * @module
 */
import { combine } from "./combination.ts";
import { levelAt } from "./noise_schedule.ts";
import { predict } from "./prediction.ts";
import { type Problem, type Sampler, variancePreserving } from "./sampler.ts";

/** Standard deviation of the data in the boundary condition: Song et al., arXiv 2303.01469, appendix C. */
const SIGMA_DATA = 0.5;

/** Multistep sampling: jumps to the image, then adds noise again up to the next timestep. */
export function lcm(problem: Problem): Sampler {
  const { settings, shares } = problem;
  const timesteps = lcmTimesteps(problem);
  const level = (index: number) => levelAt(shares, timesteps[index]!);
  const usesNoise = (index: number) => index < timesteps.length - 1;
  return {
    ...variancePreserving(level),
    timesteps,
    order: 1,
    history: 0,
    usesNoise,
    step({ index, sample, output, noise }) {
      const { image } = predict(settings, level(index), { sample, output });
      const time = timesteps[index]! * settings.timestep_scaling;
      const skip = SIGMA_DATA ** 2 / (time ** 2 + SIGMA_DATA ** 2);
      const out = time / Math.hypot(time, SIGMA_DATA);
      const next = usesNoise(index) ? level(index + 1) : { signal: 1, noise: 0 };
      return [combine([next.signal * out, image], [next.signal * skip, sample], [next.noise, noise])];
    },
  };
}

/** A selection of the timesteps that the model was distilled with. */
function lcmTimesteps({ settings, steps }: Problem): number[] {
  const { num_train_timesteps: count, original_inference_steps: distilled } = settings;
  if (steps > distilled) {
    throw new RangeError(`LCM has at most original_inference_steps = ${distilled} steps, not ${steps}`);
  }
  const stride = Math.floor(count / distilled);
  const positions = Array.from({ length: steps }, (_, i) => Math.floor(i * (distilled / steps)));
  return positions.map((position) => (distilled - position) * stride - 1);
}
