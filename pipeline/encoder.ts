/**
 * Init images to the moments of their latents.
 * @module
 */
import { GpuFailedError, type Ops, type Program } from "../kernels/mod.ts";
import { fromImage, toMask } from "./image.ts";
import type { VaeWeights } from "./nets/vae.ts";
import type { Request } from "./request.ts";
import { fit, type Moments } from "./start.ts";
import { recordEncoder } from "./vae_program.ts";

/** Encodes init images; the last moments are kept, for more requests that start from the same objects. */
export class Encoder {
  readonly #ops: Ops;
  readonly #weights: () => Promise<VaeWeights>;
  readonly #ready: (program: Program) => Promise<void>;
  #last: { readonly key: readonly unknown[]; readonly moments: Moments } | undefined;

  /** Reads no weights before the first picture. `ready` is called before a program runs. */
  constructor(ops: Ops, weights: () => Promise<VaeWeights>, ready: (program: Program) => Promise<void>) {
    this.#ops = ops;
    this.#weights = weights;
    this.#ready = ready;
  }

  /**
   * The moments of a request's init image; for a net that paints, of what its mask keeps, and of the whole image only
   * where the run starts from it.
   *
   * @throws {ModelFileError} when the model has no encoder, or not the one that its configuration describes.
   * @throws {GpuFailedError} when they are not numbers.
   */
  async encode(request: Request, paints: boolean): Promise<Moments> {
    const { init, width, height, vaeTiling } = request;
    if (!init) return {};
    const starts = !paints || init.strength < 1;
    const key = [init.image, paints && init.mask, starts, width, height, vaeTiling];
    if (this.#last?.key.every((value, i) => value === key[i])) return this.#last.moments;
    const image = fromImage(fit(init.image, request));
    const moments: Moments = {
      ...(starts && { image: await this.#run(image, request) }),
      ...(paints && { kept: await this.#run(withoutMasked(image, request), request) }),
    };
    this.#last = { key, moments };
    return moments;
  }

  async #run(image: Float32Array, { width, height, vaeTiling = "auto" }: Request): Promise<Float32Array> {
    const weights = await this.#weights();
    const { factor } = weights.config;
    const size = { height: height / factor, width: width / factor };
    const recorded = await recordEncoder(this.#ops, weights, size, vaeTiling);
    try {
      await this.#ready(recorded.program);
      const moments = await recorded.run(() => Promise.resolve(image));
      if (moments.every(Number.isFinite)) return moments;
      throw new GpuFailedError("The init image's latent holds values that are not numbers");
    } finally {
      // The loop needs the memory.
      recorded.dispose();
    }
  }
}

/** The picture `[3, height, width]` with 0, a middle grey, where the mask is white. */
function withoutMasked(image: Float32Array, request: Request): Float32Array {
  const mask = toMask(fit(request.init!.mask!, request), 1);
  return image.map((value, i) => mask[i % mask.length] === 1 ? 0 : value);
}
