/**
 * Init images to the moments of their latents.
 * @module
 */
import { GpuFailedError } from "../kernels/errors.ts";
import { fromImage } from "./image.ts";
import type { Parts } from "./load.ts";
import type { Image, Request, VaeTiling } from "./request.ts";
import { fit } from "./start.ts";
import { recordEncoder } from "./vae_program.ts";

/** What was encoded last. */
interface Encoded {
  readonly image: Image;
  readonly width: number;
  readonly height: number;
  readonly tiling: VaeTiling;
  readonly moments: Float32Array;
}

/** Encodes init images; the last one's moments are kept, for more requests that start from the same object. */
export class PictureEncoder {
  readonly #parts: Pick<Parts, "exactVaeOps" | "encoder">;
  #last: Encoded | undefined;

  /** Reads no weights before the first picture. */
  constructor(parts: Pick<Parts, "exactVaeOps" | "encoder">) {
    this.#parts = parts;
  }

  /**
   * Moments `[2 x channels, height, width]` of the latent of a request's init image, if it has one.
   *
   * @throws {ModelFileError} when the model has no encoder, or not the one that its configuration describes.
   * @throws {GpuFailedError} when they are not numbers.
   */
  async encode(request: Request): Promise<Float32Array | undefined> {
    const { init, width, height, vaeTiling: tiling = "auto" } = request;
    if (!init) return undefined;
    const { image } = init;
    const last = this.#last;
    if (last?.image === image && last.width === width && last.height === height && last.tiling === tiling) {
      return last.moments;
    }
    const { exactVaeOps, encoder } = this.#parts;
    const weights = encoder();
    const { factor } = weights.config;
    const recorded = await recordEncoder(
      exactVaeOps,
      weights,
      { height: height / factor, width: width / factor },
      tiling,
    );
    try {
      const moments = await recorded.run(() => Promise.resolve(fromImage(fit(image, request))));
      if (moments.some(Number.isNaN)) {
        throw new GpuFailedError("The init image's latent holds values that are not numbers");
      }
      this.#last = { image, width, height, tiling, moments };
      return moments;
    } finally {
      // The denoiser needs the memory.
      recorded.dispose();
    }
  }
}
