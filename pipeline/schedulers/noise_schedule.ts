/**
 * How noisy each timestep of training was: Ho et al., "Denoising diffusion probabilistic models", arXiv 2006.11239.
 * @module
 */
import { shown } from "../../weights/json.ts";
import { LIMITS } from "../../weights/limits.ts";
import { linspace } from "./numpy.ts";
import type { NoiseLevel } from "./schedule.ts";
import type { Settings } from "./settings.ts";

/**
 * The share of the clean image's variance that is left at each timestep: alpha bar of the paper, falling from near 1.
 * Rounded to float32 where torch rounds, because later steps amplify the difference.
 * @throws {RangeError} if the number of timesteps is not possible, `trained_betas` has not one number for each, or a
 * share is not from 0 to 1.
 */
export function signalShares(settings: Settings): readonly number[] {
  const shares = sharesLeft(variances(settings));
  shares.forEach((share, timestep) => {
    if (!(share >= 0 && share <= 1)) {
      throw new RangeError(`Scheduler config: the betas leave a signal of ${share} at timestep ${timestep}`);
    }
  });
  return settings.rescale_betas_zero_snr ? sharesLeft(endInNoise(shares)) : shares;
}

/** The products of `1 - beta`, which torch multiplies in float64. */
function sharesLeft(betas: readonly number[]): readonly number[] {
  let share = 1;
  return betas.map((beta) => {
    share *= Math.fround(1 - beta);
    return Math.fround(share);
  });
}

/** Beta of the paper, [num_train_timesteps]. */
function variances(settings: Settings): readonly number[] {
  const { num_train_timesteps: count, beta_start: start, beta_end: end, beta_schedule, trained_betas } = settings;
  const { timesteps: most } = LIMITS;
  if (!Number.isInteger(count) || count < 2 || count > most) {
    throw new RangeError(`Scheduler config: num_train_timesteps is ${count}, not a whole number from 2 to ${most}`);
  }
  if (trained_betas.length > 0) {
    if (trained_betas.length !== count) {
      throw new RangeError(`Scheduler config: ${trained_betas.length} trained_betas for ${count} timesteps`);
    }
    const wrong = trained_betas.find((beta) => typeof beta !== "number");
    if (wrong !== undefined) throw new TypeError(`Scheduler config: trained_betas has ${shown(wrong)}, not a number`);
    return trained_betas.map(Math.fround);
  }
  switch (beta_schedule) {
    case "linear":
      return torchLinspace(start, end, count);
    case "scaled_linear":
      return torchLinspace(Math.sqrt(start), Math.sqrt(end), count).map((root) => Math.fround(root * root));
    case "squaredcos_cap_v2": {
      // Nichol and Dhariwal, "Improved denoising diffusion probabilistic models", arXiv 2102.09672, equation 17
      const share = (time: number) => Math.cos((time + 0.008) / 1.008 * Math.PI / 2) ** 2;
      const times = linspace(0, 1, count + 1);
      return times.slice(1).map((time, i) => Math.fround(Math.min(1 - share(time) / share(times[i]!), 0.999)));
    }
  }
}

/** `torch.linspace`: float32, counted from the nearer end. */
function torchLinspace(start: number, end: number, count: number): number[] {
  const [first, last] = [Math.fround(start), Math.fround(end)];
  const step = Math.fround(Math.fround(last - first) / (count - 1));
  return Array.from(
    { length: count },
    (_, i) => Math.fround(i < Math.floor(count / 2) ? first + step * i : last - step * (count - 1 - i)),
  );
}

/** Betas whose signal is shifted and scaled so that none is left at the last timestep: arXiv 2305.08891, algorithm 1. */
function endInNoise(shares: readonly number[]): readonly number[] {
  const { fround, sqrt } = Math;
  const signals = shares.map((share) => fround(sqrt(share)));
  const [first, last] = [signals[0]!, signals.at(-1)!];
  const scale = fround(first / fround(first - last));
  const rescaled = signals.map((signal) => fround(fround(fround(signal - last) * scale) ** 2));
  return rescaled.map((share, i) => fround(1 - (i === 0 ? share : fround(share / rescaled[i - 1]!))));
}

/** The noise level where `share` of the variance is signal. */
export function levelOfShare(share: number): NoiseLevel {
  return { signal: Math.sqrt(share), noise: Math.sqrt(1 - share) };
}

/** The noise level of unit variance whose noise is `sigma` times its signal. */
export function levelOfSigma(sigma: number): NoiseLevel {
  const signal = 1 / Math.sqrt(1 + sigma * sigma);
  return { signal, noise: sigma * signal };
}

/**
 * The noise level of a whole timestep of training.
 * @throws {RangeError} if the model was not trained on it.
 */
export function levelAt(shares: readonly number[], timestep: number): NoiseLevel {
  const share = shares[timestep];
  if (share === undefined) {
    throw new RangeError(`Timestep ${timestep} is not one of the ${shares.length} that the model was trained on`);
  }
  return levelOfShare(share);
}
