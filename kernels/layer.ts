/**
 * Linear layers, convolutions and normalisations as values, and what may be asked of them.
 * @module
 */
import type { Activation } from "./backend.ts";
import type { Memory, Tensor } from "./tensor.ts";

/** A linear layer or convolution, packed. */
export interface Layer {
  /** `[taps x in, out]`. */
  readonly weights: Tensor;
  /** `[out, 1]`. */
  readonly bias?: Tensor;
  readonly in: number;
  readonly out: number;
  /** Taps along one side of the window: 1 or 3. */
  readonly window: number;
}

/** Weights and biases of a normalisation, `[channels, 2]`. */
export type Affine = Tensor;

/** A bias that changes from step to step, and the running step. */
export interface StepBias {
  /** `[1, out, steps]`, or `[batch, out, steps]` where each sample has its own. */
  readonly values: Tensor;
  readonly step: Memory;
}

/** What may be fused behind a product. */
export interface ProductOptions {
  /** Added at the end. */
  readonly plus?: Tensor;
  /** Whether `plus` is added before the activation instead; default no. */
  readonly plusFirst?: boolean;
  readonly activation?: Activation;
  /** Takes the place of the layer's own bias. */
  readonly stepBias?: StepBias;
  /** Whether the result is float32 even where activations are stored as float16; default no. */
  readonly exact?: boolean;
}

/** How a 3x3 convolution moves over its input. */
export interface ConvolutionOptions extends ProductOptions {
  /** 1 or 2. */
  readonly stride?: number;
  /** Zero pixels on the left and top; by default what keeps the size at stride 1. */
  readonly pad?: number;
  /** Nearest-neighbour upsampling before the convolution. */
  readonly upsample?: number;
  /** Size of the upsampled image, when it is not `upsample` times the input's. */
  readonly image?: readonly [height: number, width: number];
  /** Zero pixels on the right and bottom; by default as many as on the left and top. */
  readonly padEnd?: number;
}
