/**
 * Inpainting's end of a denoising step, which both backends share.
 * @module
 */
import type { SamplerSpec } from "./backend.ts";
import type { BufferPort } from "./kernel.ts";
import type { Memory } from "./tensor.ts";

/** Coefficients of a step behind those of the transition: the factors of the original and of its noise. */
const LEVEL = 2;

/** What {@link SamplerSpec.original} adds to a sampler's kernel; nothing where there is none. */
export interface Inpainting {
  /** Ports behind the sampler's own. */
  readonly ports: readonly BufferPort[];
  /** The memory behind them. */
  readonly memory: readonly Memory[];
  /** Coefficients that it adds to each step. */
  readonly coefficients: number;
  /**
   * WGSL that turns `drawn` into the sample. `index` is the lane's place in a latent of `count` elements, `level` the
   * place of the step's two coefficients.
   */
  sample(drawn: string, at: { readonly index: string; readonly count: string; readonly level: string }): string;
}

/** The mask's blend of the step's sample with the original, noised as the next step expects it. */
export function inpainting({ original }: SamplerSpec): Inpainting {
  if (!original) return { ports: [], memory: [], coefficients: 0, sample: (drawn) => drawn };
  return {
    ports: [{ kind: "buffer", name: "original", access: "read", element: "vec4<f32>" }],
    memory: [original],
    coefficients: LEVEL,
    sample: (drawn, { index, count, level }) => {
      const [signal, noise] = [level, `${level} + 1`].map((at) => `coefficients[${at}]`);
      const kept = `${signal} * original[${count} + ${index}] + ${noise} * original[2 * ${count} + ${index}]`;
      return `mix(${kept}, ${drawn}, original[${index}])`;
    },
  };
}
