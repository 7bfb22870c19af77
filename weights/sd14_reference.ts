/**
 * What diffusers computed with Stable Diffusion 1.4 and computed weights (see {@link openFormula}), in samples.
 * @module
 */
import values from "./sd14_reference.json" with { type: "json" };

/**
 * Results of diffusers 0.40 on PyTorch 2.11, float32 without TF32: of each 256 values, value `k` from position
 * `7919 k` modulo the number of values, in the order `[batch, channels, height, width]`.
 */
export const sd14Reference: typeof values = values;
