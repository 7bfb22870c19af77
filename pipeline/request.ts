/**
 * What a picture is made from, and what happens while it is made.
 * @module
 */

/** Everything that decides a picture, complete and serialisable; the seed is drawn before a request exists. */
export interface Request {
  /** What to draw. */
  readonly prompt: string;
  /** What to steer away from; the empty text is the ordinary unconditional branch. */
  readonly negativePrompt: string;
  /** Seed of the noise, 0 to 2^64 - 1. */
  readonly seed: bigint;
  /** Denoising steps, at least 1. */
  readonly steps: number;
  /** Classifier-free guidance scale; 1 runs the conditional branch alone. */
  readonly guidance: number;
  /** Width of the picture in pixels, a multiple of 8. */
  readonly width: number;
  /** Height of the picture in pixels, a multiple of 8. */
  readonly height: number;
  /** A name of the scheduler table; absent, the model's own scheduler config rules. */
  readonly scheduler?: string;
  /** Whose random numbers: torch's CPU generator (MT19937) or its CUDA generator (Philox). */
  readonly rng: "cpu" | "cuda";
}

/** An 8-bit RGB picture, rows from the top. */
export interface Image {
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /** `width * height * 3` bytes, red first. */
  readonly pixels: Uint8Array;
}

/** Wall-clock time of each stage in milliseconds. */
export interface Timings {
  /** Tokenizer and text encoder. */
  readonly text: number;
  /** All denoising steps. */
  readonly denoise: number;
  /** VAE decoder. */
  readonly decode: number;
}

/** What {@link generate} yields: one `step` after each denoising step, one `image` last. */
export type GenerateEvent =
  | {
    readonly type: "step";
    /** Steps done, 1 to `steps`. */
    readonly step: number;
    /** UNet evaluations in all (some schedulers evaluate twice a step). */
    readonly steps: number;
    /** Time of this step in milliseconds. */
    readonly milliseconds: number;
  }
  | {
    readonly type: "image";
    readonly image: Image;
    readonly timings: Timings;
    /** The most GPU memory that was held at once, in bytes. */
    readonly peakBytes: number;
  };
