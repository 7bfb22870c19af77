/**
 * Previews that a VAE of their own decodes, a tiny autoencoder where they are to be quick.
 * @module
 */
import type { Program, Tensor } from "../kernels/mod.ts";
import { openVae, type TensorSource } from "../weights/mod.ts";
import { checkVae } from "./check_model.ts";
import { Decoder, type DecoderParts } from "./decoder.ts";
import { toImage } from "./image.ts";
import { checkLatents, type Model } from "./model.ts";
import { readVaeConfig, type VaeConfig } from "./nets/config.ts";
import type { Image } from "./request.ts";

/** An opened VAE for previews; disposing of it closes its file. */
export interface PreviewVae extends Disposable {
  /** @internal */
  readonly config: VaeConfig;
  /** @internal */
  readonly source: TensorSource;
}

/**
 * Opens the VAE in a folder or a file for previews of a model's pictures.
 *
 * @throws {ModelNotFoundError} there is none
 * @throws {ModelFileError} a file of it is damaged, or it is of a kind that is not supported or does not fit the model
 */
export function openPreviewVae(path: string, model: Model): PreviewVae {
  const opened = openVae(path);
  using stack = new DisposableStack();
  const source = stack.use(opened.source);
  const config = readVaeConfig(opened.config(model.config.vae));
  checkLatents(path, config, model);
  checkVae(source, config);
  stack.move();
  return { config, source, [Symbol.dispose]: () => source[Symbol.dispose]() };
}

/** The pixels along the sides of a latent. */
type Size = Pick<Tensor, "height" | "width">;

/** Decodes previews. */
export class PreviewDecoder {
  readonly #decoder: Decoder;
  #latent: Tensor | undefined;

  constructor(parts: DecoderParts) {
    this.#decoder = new Decoder(parts);
  }

  /** Records the decoder for latents of a size, and gives back what it had for another. */
  async prepare({ height, width }: Size): Promise<Program> {
    const { ops, weights } = this.#decoder;
    if (this.#latent?.height !== height || this.#latent.width !== width) {
      this.release();
      this.#latent = ops.keep({ batch: 1, channels: weights.config.latentChannels, height, width }, "preview's latent");
    }
    const { program } = await this.#decoder.record(this.#latent);
    await ops.gpu.prepare(program.kernels);
    return program;
  }

  /**
   * The picture of `latent [channels, height, width]`, as the net knows it, of the size that was prepared.
   *
   * @throws {GpuFailedError} when it is not made of numbers.
   */
  async draw(latent: Float32Array): Promise<Image> {
    const { ops, weights: { config: { factor, scalingFactor } } } = this.#decoder;
    const z = this.#latent!;
    ops.write(z, latent.map((value) => value / scalingFactor));
    const { values } = await this.#decoder.decode(z, undefined, () => Promise.resolve(latent));
    return toImage(values, { width: z.width * factor, height: z.height * factor, what: "The preview" });
  }

  release(): void {
    this.#decoder.release();
    if (this.#latent) this.#decoder.ops.gpu.free(this.#latent.memory);
    this.#latent = undefined;
  }

  /** Gives back all but the weights. */
  dispose(): void {
    this.release();
    this.#decoder.dispose();
  }
}
