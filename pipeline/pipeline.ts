/**
 * A model on a GPU, ready to draw.
 * @module
 */
import { GpuFailedError } from "../kernels/errors.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { Ops } from "../kernels/ops.ts";
import type { Optimizations } from "../kernels/optimizations.ts";
import type { Program } from "../kernels/program.ts";
import { firstSample } from "../kernels/tensor.ts";
import type { Model } from "../weights/mod.ts";
import { compareStages, type Deviation, type Reference } from "./compare.ts";
import { type Denoiser, type DenoiserShape, planLatent, recordDenoiser } from "./denoiser.ts";
import { toImage } from "./image.ts";
import { loadParts, type Parts, type PipelineOptions } from "./load.ts";
import { PictureEncoder } from "./picture_encoder.ts";
import { encodePrompts } from "./prompt/chunks.ts";
import { STABLE_DIFFUSION_RGB } from "./preview.ts";
import { createNoiseSource, type NoiseSource } from "./random/mod.ts";
import type { GenerateEvent, Request, VaeTiling } from "./request.ts";
import type { Schedule } from "./schedulers/schedule.ts";
import { runSteps } from "./run_steps.ts";
import { scheduleFor } from "./schedulers/mod.ts";
import { startOf, stepsLeftOut } from "./start.ts";
import { checkClipSkip } from "./text_encoder.ts";
import { recordDecoder, type VaeProgram } from "./vae_program.ts";

/** What {@link Pipeline.generate} does beside the picture. */
export interface GenerateOptions {
  /** Step events carry the latent after every step, or after every so many steps and the last. Each costs a wait. */
  readonly latents?: boolean | number;
  /** Step events carry a preview after every so many steps and the last. Each costs two waits. */
  readonly previews?: number;
}

/** The VAE's decoder, recorded for the denoiser's size. */
interface Decoding extends VaeProgram {
  readonly tiling: VaeTiling;
}

/** The recorded programs of a request, for measurements. */
export interface Stages {
  /** The text encoder, then what else all steps share. */
  readonly text: readonly Program[];
  /** One denoising step. */
  readonly step: Program;
  /** The VAE's decoder, or one tile of it. */
  readonly decode: Program;
  /** Denoising steps of the request. */
  readonly steps: number;
}

/** A request ready for its first step. */
interface Prepared {
  readonly denoiser: Denoiser;
  readonly schedule: Schedule;
  readonly noise: NoiseSource;
  /** What the init image's encoding took in milliseconds. */
  readonly encode?: number;
}

/** A model on a GPU. What it records for one size it keeps for the next request of that size. */
export class Pipeline implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #encoder: PictureEncoder;
  #denoiser: Denoiser | undefined;
  #decoding: Decoding | undefined;
  /** The decoder's operations: {@link Parts.vaeOps} until a picture leaves their range. */
  #vaeOps: Ops;

  private constructor(parts: Parts) {
    this.#parts = parts;
    this.#vaeOps = parts.vaeOps;
    this.#encoder = new PictureEncoder(parts);
  }

  /**
   * Reads a model's weights onto the GPU.
   *
   * @throws {ModelFileError} when tensors are missing, misshapen or unknown, or the model is of a kind that is not supported.
   */
  static async load(gpu: Gpu, model: Model, options: PipelineOptions = {}): Promise<Pipeline> {
    return new Pipeline(await loadParts(gpu, model, options));
  }

  /** The same model with other kernels: the weights are shared. */
  with(kernels: Optimizations): Pipeline {
    const again = ({ gpu, backend, ...rest }: Ops) => new Ops(gpu, backend, { ...rest, optimizations: kernels });
    const { ops, vaeOps } = this.#parts;
    const exactVaeOps = again(this.#parts.exactVaeOps);
    const isExact = vaeOps === this.#parts.exactVaeOps;
    return new Pipeline({
      ...this.#parts,
      ops: again(ops),
      vaeOps: isExact ? exactVaeOps : again(vaeOps),
      exactVaeOps,
    });
  }

  /**
   * Draws a picture: a `step` event for each evaluation of the UNet, then one `image`; a `notice` where something did
   * not go as asked.
   *
   * @throws {RangeError} when the size is not a multiple of the VAE's factor, the scheduler refuses its settings, or an
   * init image's strength leaves no step.
   * @throws {ModelFileError} when there is an init image and the model, which must still be open, has no encoder.
   * @throws {GpuFailedError | GpuMemoryError} when the GPU fails, or the picture is not made of numbers.
   */
  async *generate(
    request: Request,
    options: GenerateOptions = {},
  ): AsyncGenerator<GenerateEvent & { readonly latent?: Float32Array }> {
    const started = performance.now();
    const { gpu } = this.#parts.ops;
    const { denoiser, schedule, noise, encode } = await this.#prepare(request);
    await gpu.finish();
    const denoising = performance.now();

    const { latents = 0, previews: previewEvery = 0 } = options;
    const rgb = this.#parts.model.defaults.latentToRgb ?? STABLE_DIFFUSION_RGB;
    yield* runSteps({ gpu, denoiser, schedule, noise, latentEvery: Number(latents), previewEvery, rgb });

    const decoding = performance.now();
    let values = await this.#decode(denoiser, request);
    if (!values.every(Number.isFinite)) {
      if (!(await denoiser.sample()).every(Number.isFinite)) {
        throw new GpuFailedError("The UNet's latent holds values that are not numbers");
      }
      if (this.#vaeOps !== this.#parts.exactVaeOps) {
        yield {
          type: "notice",
          message: "The VAE left the range of float16: pictures are decoded in float32 from now on",
        };
        this.#releaseDecoding();
        this.#vaeOps = this.#parts.exactVaeOps;
        values = await this.#decode(denoiser, request);
      }
    }
    const image = toImage(values, request.width, request.height);
    const ended = performance.now();
    yield {
      type: "image",
      image,
      timings: {
        text: denoising - started - (encode ?? 0),
        ...(encode !== undefined && { encode }),
        denoise: decoding - denoising,
        decode: ended - decoding,
      },
      peakBytes: gpu.peakBytes,
    };
  }

  /**
   * What {@link generate} runs on the GPU for `request`, its sampler at the start: {@link Stages.step} may run as often
   * as the request has steps.
   */
  async stages(request: Request): Promise<Stages> {
    const { denoiser, schedule } = await this.#prepare(request);
    const { program: decode } = await this.#decoderOf(denoiser, request);
    return { text: denoiser.preparation, step: denoiser.stepping, decode, steps: schedule.steps.length };
  }

  /** How far the model's stages are from what another implementation computed with the same weights. */
  compare(reference: Reference): Promise<readonly Deviation[]> {
    return compareStages(this.#parts, reference);
  }

  /** Prompts, timesteps and noise of a request to the GPU. */
  async #prepare(request: Request): Promise<Prepared> {
    const { model, tokenizer, decoder, weights } = this.#parts;
    const { factor, scalingFactor } = decoder.config;
    const { width, height, guidance, clipSkip = 1, init } = request;
    if (width % factor !== 0 || height % factor !== 0) {
      throw new RangeError(
        `A picture of ${width}x${height} is not made of whole latents of ${factor}x${factor} pixels`,
      );
    }
    checkClipSkip(clipSkip, weights.text.config);
    const schedule = scheduleFor(model.config.scheduler, {
      steps: request.steps,
      name: request.scheduler,
      eta: request.eta,
      start: stepsLeftOut(request),
    });
    const encoding = performance.now();
    // Before the denoiser is recorded: its memory and the encoder's need not be there at once.
    const moments = await this.#encoder.encode(request);
    const encode = performance.now() - encoding;
    // As in diffusers: a scale of 1 or less is the conditional prediction alone.
    const guided = guidance > 1;
    const texts = guided ? [request.negativePrompt, request.prompt] : [request.prompt];
    const prompts = await encodePrompts(tokenizer, texts, request);
    const denoiser = await this.#denoise({
      height: height / factor,
      width: width / factor,
      guided,
      evaluations: schedule.steps.length,
      slots: schedule.slots,
      tokens: tokenizer.maxLength,
      chunks: prompts[0]!.length,
      clipSkip,
      masked: init?.mask !== undefined,
    }, request);
    await denoiser.prepare(prompts, schedule);
    const noise = createNoiseSource(request.rng, request.seed);
    const start = startOf(request, { schedule, noise, vae: decoder.config, moments });
    denoiser.start(schedule, { ...start, guidance, finalScale: 1 / scalingFactor });
    return { denoiser, schedule, noise, ...(init && { encode }) };
  }

  /** The recorded denoising loop of `shape`; the one before is given up when it was of another. */
  async #denoise(shape: DenoiserShape, request: Request): Promise<Denoiser> {
    if (JSON.stringify(this.#denoiser?.shape) !== JSON.stringify(shape)) {
      this.#denoiser?.dispose();
      this.#denoiser = undefined;
      this.#releaseDecoding();
      const { ops, weights } = this.#parts;
      const latent = planLatent(ops, weights, shape);
      // The decoder passes the largest values through memory: what is recorded behind it fits into that.
      await this.#decoderOf({ latent: firstSample(latent) }, request);
      this.#denoiser = await recordDenoiser(ops, weights, { shape, latent });
    }
    return this.#denoiser!;
  }

  /** The VAE's picture `[3, height, width]` of the denoiser's latent. */
  async #decode(denoiser: Denoiser, request: Request): Promise<Float32Array> {
    const { scalingFactor } = this.#parts.decoder.config;
    const decoding = await this.#decoderOf(denoiser, request);
    return decoding.run(async () => (await denoiser.sample()).map((value) => value / scalingFactor));
  }

  async #decoderOf({ latent }: Pick<Denoiser, "latent">, { vaeTiling: tiling = "auto" }: Request): Promise<Decoding> {
    if (this.#decoding?.tiling !== tiling) {
      this.#releaseDecoding();
      this.#decoding = { ...await recordDecoder(this.#vaeOps, this.#parts.decoder, latent, tiling), tiling };
    }
    return this.#decoding!;
  }

  #releaseDecoding(): void {
    this.#decoding?.dispose();
    this.#decoding = undefined;
  }

  /** Gives back the memory of what it recorded; the weights go with the {@link Gpu}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#denoiser?.dispose();
    this.#denoiser = undefined;
    this.#releaseDecoding();
    this.#parts.ops.dispose();
    this.#parts.vaeOps.dispose();
    this.#parts.exactVaeOps.dispose();
    return Promise.resolve();
  }
}
