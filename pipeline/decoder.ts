/**
 * Latents to pictures: the VAE's decoder, and its way back to float32.
 * @module
 */
import { GpuFailedError, type Ops, type Program, type Tensor } from "../kernels/mod.ts";
import type { VaeWeights } from "./nets/vae.ts";
import type { VaeTiling } from "./request.ts";
import type { TiledProgram } from "./tiled_program.ts";
import { recordDecoder } from "./vae_program.ts";

export interface DecoderParts {
  /** Operations as the model's precision wants them. */
  readonly ops: Ops;
  /** The same with float32 activations, for latents at which others overflow. */
  readonly exactOps: Ops;
  readonly weights: VaeWeights;
}

/** A picture's values `[3, height, width]`, about -1 to 1, and whether the decoder went back to float32 for them. */
export interface Decoded {
  readonly values: Float32Array;
  readonly fellBack: boolean;
}

/** The decoder. What it records for one latent and tiling it keeps for the next picture of both. */
export class Decoder {
  readonly #parts: DecoderParts;
  #ops: Ops;
  #recorded: { readonly program: TiledProgram; readonly latent: Tensor; readonly tiling: VaeTiling } | undefined;

  constructor(parts: DecoderParts) {
    this.#parts = parts;
    this.#ops = parts.ops;
  }

  /** The operations in use: {@link DecoderParts.ops} until a picture leaves their range. */
  get ops(): Ops {
    return this.#ops;
  }

  /** Whether activations are float32. */
  get exact(): boolean {
    return this.#ops === this.#parts.exactOps;
  }

  get weights(): VaeWeights {
    return this.#parts.weights;
  }

  /** The program that decodes what lies in `latent`, recorded where it is not yet. */
  async record(latent: Tensor, tiling: VaeTiling = "auto"): Promise<TiledProgram> {
    if (this.#recorded?.latent !== latent || this.#recorded.tiling !== tiling) {
      this.release();
      this.#recorded = { program: await recordDecoder(this.#ops, this.weights, latent, tiling), latent, tiling };
    }
    return this.#recorded.program;
  }

  /**
   * Decodes what lies in `latent`. Where values leave float16's range, this picture and all later ones are decoded in
   * float32.
   *
   * @param sample reads the latent on the host, scaled as the loop has it
   * @param ready is called before a program runs
   * @throws {GpuFailedError} when the latent is not made of numbers, whatever the decoder makes of it.
   */
  async decode(
    latent: Tensor,
    tiling: VaeTiling | undefined,
    sample: () => Promise<Float32Array>,
    ready?: (program: Program) => Promise<void>,
  ): Promise<Decoded> {
    const { scalingFactor } = this.weights.config;
    const run = async () => {
      const recorded = await this.record(latent, tiling);
      await ready?.(recorded.program);
      return await recorded.run(async () => (await sample()).map((value) => value / scalingFactor));
    };
    // Both at once: the GPU is waited for one time.
    const [values, sampled] = await Promise.all([run(), sample()]);
    if (!sampled.every(Number.isFinite)) {
      throw new GpuFailedError("The UNet's latent holds values that are not numbers");
    }
    if (this.exact || values.every(Number.isFinite)) return { values, fellBack: false };
    this.release();
    this.#ops = this.#parts.exactOps;
    return { values: await run(), fellBack: true };
  }

  release(): void {
    this.#recorded?.program.dispose();
    this.#recorded = undefined;
  }

  /** Gives back all but the weights. */
  dispose(): void {
    this.release();
    this.#parts.ops.dispose();
    this.#parts.exactOps.dispose();
  }
}
