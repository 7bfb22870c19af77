/**
 * What both of torch's generators have in common.
 * @module
 */

/** A stream of standard normal numbers; drawing from it moves it on. */
export interface NoiseSource {
  /** `torch.randn` of any shape with as many elements. Two draws of 8 are not one draw of 16. */
  normal(elements: number): Float32Array<ArrayBuffer>;
}

/** The type of torch's tensor. */
export type NumberFormat = keyof typeof formats;

/** How many bits a uniform draw of each format has, and how its numbers are rounded. */
export const formats = {
  float32: { significantBits: 24, round: Math.fround },
  float16: { significantBits: 11, round: Math.f16round },
} as const;
