/**
 * A family of models as a value: how it is recognised, what it reads from its files and how its net is run. Everything
 * else, the loop, the VAE, the command line, is the same for all.
 * @module
 */
import type { Memory, Ops, Program, Tensor } from "../../kernels/mod.ts";
import type { ByPart, ModelConfig } from "../../weights/mod.ts";
import type { ControlNetWeights } from "../nets/controlnet.ts";
import type { Parameters } from "../nets/parameters.ts";
import type { PromptChunk } from "../prompt/chunks.ts";
import type { Request, SizeSetting } from "../request.ts";

/** The latents that a family's net and VAE share. */
export interface LatentFormat {
  /**
   * Rows of a linear map from a latent to red, green and blue, -1 to 1, for previews: one for each channel, then a
   * constant.
   */
  readonly rgb: readonly (readonly number[])[];
}

/** What a family's models want when neither they nor the user say otherwise. */
export interface FamilyDefaults {
  readonly steps: number;
  readonly guidance: number;
  readonly longPrompt: "chunk" | "truncate";
}

/** A family of models. */
export interface Family {
  /** What people call it. */
  readonly name: string;
  /** @internal */
  readonly latent: LatentFormat;
  /** @internal */
  readonly defaults: FamilyDefaults;
  /**
   * Whether the net paints into a picture: it reads a mask and the latent of what is kept beside the sample, and every
   * request needs both.
   * @internal
   */
  readonly paints?: boolean;
  /**
   * Whether a model of this configuration is of this family.
   * @internal
   */
  matches(config: ModelConfig): boolean;
  /**
   * Rejects what the family's models cannot do.
   *
   * @throws {RequestError} naming the setting.
   * @internal
   */
  check(request: Request, config: ModelConfig): void;
  /**
   * The prompts of the samples that are predicted side by side, the unconditional one first where there is one.
   * @internal
   */
  prompts(request: Request): readonly string[];
  /**
   * Reads the weights of everything but the VAE.
   *
   * @throws {ModelFileError} when parts do not fit together, or a configuration or tensor is not supported.
   * @internal
   */
  read(parameters: ByPart<Parameters>, config: ModelConfig): Net;
}

/** A stage of a picture. */
export type StageName = "encode" | "text" | "denoise" | "decode" | "enlarge";

/** Makes a stage of what was recorded ready to run. */
export type Enter = (stage: StageName) => Promise<void>;

/** What a net is recorded for; requests that agree in it share one recording. */
export interface Run {
  /** Size of the latent. */
  readonly height: number;
  readonly width: number;
  /** Samples side by side: 2 with classifier-free guidance. */
  readonly samples: number;
  /** Evaluations of the net. */
  readonly evaluations: number;
  /** Tokens of one chunk of a prompt. */
  readonly tokens: number;
  /** Chunks of a prompt. */
  readonly chunks: number;
  /** The text encoder's layer that is the context, 1 for the one that the family reads. */
  readonly clipSkip: number;
  /** Of each evaluation the ControlNets that take part in it, by their numbers; absent where none ever does. */
  readonly controls?: readonly (readonly number[])[];
}

/** The numbers of the ControlNets that take part in any evaluation. */
export function usedControls({ controls = [] }: Pick<Run, "controls">): readonly number[] {
  return [...new Set(controls.flat())];
}

/** What one picture is conditioned on. */
export interface Inputs {
  /** For each text encoder, the chunks of each sample's prompt. */
  readonly prompts: readonly (readonly (readonly PromptChunk[])[])[];
  /** Timestep of each evaluation. */
  readonly timesteps: readonly number[];
  /** What else of it a net may take. */
  readonly request: Pick<Request, "guidance" | "negativePrompt" | "width" | "height" | SizeSetting>;
  /** For a family that paints: the mask, then the latent of what is kept, `[1 + channels, height, width]`. */
  readonly kept?: Float32Array;
  /** What a ControlNet sees, `[3, height, width]` of values 0 to 1, by its number. */
  readonly hint?: (control: number) => Float32Array;
}

/** A net with its weights on the GPU. */
export interface Net {
  /**
   * Records what all evaluations of a run share; `step` is one `u32`, the index of the running one, and `controls` are
   * the ControlNets that {@link Run.controls} counts.
   */
  condition(ops: Ops, run: Run, step: Memory, controls?: readonly ControlNetWeights[]): Promise<Conditions>;
}

/** What all evaluations of a run share. */
export interface Conditions {
  /** The programs of the text encoders, in the order in which they run. */
  readonly texts: readonly Program[];
  /** The program that computes the rest of it, once they have run. */
  readonly shared: Program;
  /** What the net reads of the prompts, `[samples, width, chunks x tokens]`. */
  readonly context: Tensor;
  /**
   * Computes it for a picture, of the same prompts as the one before without the text encoders; `enter` is called before a
   * stage's programs run. Waits for the GPU only when a context must be put together on the host.
   */
  prepare(inputs: Inputs, enter?: Enter): Promise<void>;
  /** Records the net's output for the latents `x [samples, channels, height, width]`, with ControlNets of the run. */
  predict(x: Tensor, controls?: readonly number[]): Tensor;
  /** Gives its memory back. */
  dispose(): void;
}
