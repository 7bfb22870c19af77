/**
 * What a picture is made from, and what happens while it is made.
 * @module
 */

import type { EmbeddingFile } from "../weights/embedding.ts";
import type { UpscalerFile } from "../weights/esrgan.ts";
import type { WeighedLora } from "../weights/lora.ts";

/** A request asks for what cannot be drawn: the setting that is to blame, and why. */
export class RequestError extends RangeError {
  /** The class's name. */
  override readonly name = "RequestError";
  /** The setting. */
  readonly setting: keyof Request;

  /** Says `problem` of `setting`. */
  constructor(setting: keyof Request, problem: string, options?: ErrorOptions) {
    super(problem, options);
    this.setting = setting;
  }
}

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
  /**
   * How much of the guided prediction's spread is taken back to that of the conditional one (arXiv 2305.08891, section
   * 3.4), 0, the default, to 1.
   */
  readonly guidanceRescale?: number;
  /** Width of the picture in pixels, a multiple of 8. */
  readonly width: number;
  /** Height of the picture in pixels, a multiple of 8. */
  readonly height: number;
  /**
   * For Stable Diffusion XL: the size in pixels that the picture is to look as if it had been scaled from (arXiv
   * 2307.01952, section 2.2); default its own.
   */
  readonly originalWidth?: number;
  /** The height that goes with {@link originalWidth}. */
  readonly originalHeight?: number;
  /** For Stable Diffusion XL: how many pixels are to look cut off on the left; default 0. */
  readonly cropLeft?: number;
  /** As {@link cropLeft}, at the top. */
  readonly cropTop?: number;
  /** A name of the scheduler table; absent, the model's own scheduler config rules. */
  readonly scheduler?: string;
  /** What the model predicts, noise or velocity; absent, what its scheduler config says. */
  readonly prediction?: "epsilon" | "v";
  /** How much fresh noise DDIM adds each step, 0, the default, to 1; other schedulers have no such choice. */
  readonly eta?: number;
  /**
   * `a1111` reads brackets, weights and `BREAK` as AUTOMATIC1111 does; `plain`, the default, reads all characters as
   * text, as diffusers does.
   */
  readonly promptSyntax?: "a1111" | "plain";
  /**
   * What becomes of tokens that the text encoder cannot hold: `chunk` encodes prompts in pieces as AUTOMATIC1111 does;
   * `truncate`, the default, drops them as diffusers does.
   */
  readonly longPrompt?: "chunk" | "truncate";
  /**
   * Which of the text encoder's layers is the context, counted back from the one that the model's family reads: 1, the
   * default, is that one, the last or in Stable Diffusion XL the last but one. One more than diffusers' `clip_skip`.
   */
  readonly clipSkip?: number;
  /** Whose random numbers: torch's CPU generator (MT19937) or its CUDA generator (Philox). */
  readonly rng: "cpu" | "cuda";
  /** A picture to start from instead of pure noise. */
  readonly init?: InitImage;
  /** A second pass over what is drawn, at a larger size. */
  readonly hires?: Hires;
  /** What enlarges the picture in the end. */
  readonly upscaler?: NamedUpscaler;
  /** LoRAs that change the model for this picture, each after the one before. */
  readonly loras?: readonly Lora[];
  /** Textual inversions, which are read where their words are in the prompt or the negative prompt. */
  readonly embeddings?: readonly Embedding[];
  /** What the ControlNets that the model was opened with see, each its own; absent, none takes part. */
  readonly controls?: readonly Control[];
  /** Whether the VAE works on tiles, which need less memory and differ slightly; default `auto`: when it must. */
  readonly vaeTiling?: VaeTiling;
}

/** What Stable Diffusion XL is told of the picture besides its size. */
export const SIZE_SETTINGS = ["originalWidth", "originalHeight", "cropLeft", "cropTop"] as const;

/** One of {@link SIZE_SETTINGS}. */
export type SizeSetting = (typeof SIZE_SETTINGS)[number];

/** Whether an unconditional sample runs beside the conditional one. As in diffusers, not at a scale of 1 or less. */
export function isGuided({ guidance }: Pick<Request, "guidance">): boolean {
  return guidance > 1;
}

/** A LoRA of a request: an opened file, and how much of it. */
export interface Lora extends WeighedLora {
  /** What the request calls it: a file's path, or the name in the prompt. */
  readonly name: string;
  /** Whether the prompt names it, as `<lora:name:0.8>`, in the syntax `a1111`. */
  readonly inPrompt?: boolean;
}

/** A textual inversion of a request: an opened file, and its word. */
export interface Embedding {
  /** What the request calls the file: its path. */
  readonly name: string;
  /** What its vectors stand for, wherever it is a word of its own; large and small letters are the same. */
  readonly word: string;
  /** The file, opened for this model. */
  readonly file: EmbeddingFile;
}

/** Thresholds of how much a picture changes at an edge: where it begins to count, and where it is one for sure. */
export type Thresholds = readonly [low: number, high: number];

/** What a ControlNet sees, and how much and when it takes part. */
export interface Control {
  /** Its picture; one of another size than the request's is resized (Lanczos), whatever becomes of its shape. */
  readonly image: Image;
  /** Makes it see the edges of the picture of the request's size instead, between these thresholds, 0 to 2040 each. */
  readonly canny?: Thresholds;
  /** Multiplies what it adds, 0, which leaves it out, to 10; default 1. */
  readonly strength?: number;
  /** The share of the steps that is over when it begins, 0, the default, to 1. */
  readonly start?: number;
  /** The share of the steps that is over when it ends, above {@link start}, to 1, the default. */
  readonly end?: number;
}

/** When the VAE works on tiles: `auto` where the whole picture would take too much memory. */
export type VaeTiling = "auto" | "on" | "off";

/** Image-to-image, and with a mask inpainting, as diffusers' pipelines of these names do them. */
export interface InitImage {
  /** The picture; one of another size than the request's is resized (Lanczos), whatever becomes of its shape. */
  readonly image: Image;
  /**
   * Where to paint: pixels that are at least half white. The rest of `image` is kept, as exactly as the VAE can. One
   * of another size is resized likewise.
   */
  readonly mask?: Image;
  /** How much of the denoising is run, above 0 to 1; at 1 the picture hardly matters outside of a mask. */
  readonly strength: number;
}

/**
 * AUTOMATIC1111's hires fix: what was drawn is enlarged, and image-to-image starts from it. The second pass draws its noise
 * from a generator of its own, of the same seed.
 */
export interface Hires {
  /** How many times as wide and high the picture becomes, 1 to 8; sides are cut to multiples of 8. */
  readonly scale: number;
  /** How much of the second pass's denoising is run, above 0 to 1. */
  readonly strength: number;
  /** The second pass's denoising steps, of which {@link strength} are run. */
  readonly steps: number;
  /** What is enlarged and how: the latent bilinearly, or the picture by Lanczos' filter or a net, and then to the size. */
  readonly upscaler: "latent" | "lanczos" | NamedUpscaler;
}

/** An upscaler of a request. */
export interface NamedUpscaler {
  /** What the request calls it, for records: its path as it was given. */
  readonly name: string;
  /** The file. */
  readonly file: UpscalerFile;
}

/** An 8-bit RGB picture, rows from the top. */
export interface Image {
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /** `width * height * 3` bytes, red first. */
  readonly pixels: Uint8Array;
  /** The file that it was read from, for records of a request; it decides nothing. */
  readonly file?: ImageFile;
}

/** A file that holds a picture. */
export interface ImageFile {
  /** Its path, as it was given. */
  readonly path: string;
  /** SHA-256 of its bytes, in hexadecimal digits. */
  readonly sha256: string;
}

/** Wall-clock time of each stage in milliseconds. */
export interface Timings {
  /** Tokenizer and text encoder. */
  readonly text: number;
  /** VAE encoder, and what a second pass is enlarged by; only with an init image or a second pass. */
  readonly encode?: number;
  /** All denoising steps. */
  readonly denoise: number;
  /** VAE decoder, and what enlarges the picture in the end. */
  readonly decode: number;
}

/** A denoising step was done. */
export interface StepEvent {
  /** Sets it apart from other events. */
  readonly type: "step";
  /** Steps done, 1 to `steps`. */
  readonly step: number;
  /** UNet evaluations in all (some schedulers evaluate twice a step). */
  readonly steps: number;
  /** Time of this step in milliseconds. */
  readonly milliseconds: number;
  /** With `previews`: what the picture will look like, one pixel for each pixel of the latent. */
  readonly preview?: Image;
}

/** What {@link generate} yields: one `step` after each denoising step, one `image` last. */
export type GenerateEvent =
  | StepEvent
  | {
    readonly type: "notice";
    /** What was done otherwise than asked, in words. */
    readonly message: string;
  }
  | {
    readonly type: "image";
    readonly image: Image;
    readonly timings: Timings;
    /** The most GPU memory that was held at once, in bytes. */
    readonly peakBytes: number;
  };
