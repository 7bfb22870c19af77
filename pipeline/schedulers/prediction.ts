/**
 * What the UNet's output says about the latent.
 * @module
 */
import { type Combination, combine } from "./combination.ts";
import type { NoiseLevel } from "./schedule.ts";
import type { Settings } from "./settings.ts";

/** The two parts of a sample, `signal * image + noise * epsilon`. The image is the clean latent, x0 of the papers. */
export interface Prediction {
  readonly image: Combination;
  readonly epsilon: Combination;
}

/**
 * Takes the sample apart at a noise level of any variance. The velocity is that of Salimans and Ho, "Progressive
 * distillation for fast sampling of diffusion models", arXiv 2202.00512, appendix D, of the sample at unit variance.
 */
export function predict(
  settings: Settings,
  { signal, noise }: NoiseLevel,
  { sample, output }: { readonly sample: Combination; readonly output: Combination },
): Prediction {
  switch (settings.prediction_type) {
    case "epsilon":
      if (signal === 0) {
        throw new RangeError("Where no signal is left (zero terminal SNR) a model must predict v, not epsilon");
      }
      return { image: combine([1 / signal, sample], [-noise / signal, output]), epsilon: output };
    case "sample":
      return { image: output, epsilon: combine([1 / noise, sample], [-signal / noise, output]) };
    case "v_prediction": {
      const variance = signal ** 2 + noise ** 2;
      const [alpha, sigma] = [signal / Math.sqrt(variance), noise / Math.sqrt(variance)];
      return {
        image: combine([signal / variance, sample], [-sigma, output]),
        epsilon: combine([noise / variance, sample], [alpha, output]),
      };
    }
  }
}
