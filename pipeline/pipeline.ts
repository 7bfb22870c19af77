/**
 * A model on a GPU, ready to draw.
 * @module
 */
import { GpuFailedError } from "../kernels/errors.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { Ops } from "../kernels/ops.ts";
import type { Optimizations } from "../kernels/optimizations.ts";
import type { Program } from "../kernels/program.ts";
import type { Tensor } from "../kernels/tensor.ts";
import type { Model } from "../weights/mod.ts";
import { type Denoiser, type DenoiserShape, recordDenoiser } from "./denoiser.ts";
import { toImage } from "./image.ts";
import { loadParts, type Parts, type PipelineOptions } from "./load.ts";
import { createNoiseSource, type NoiseSource } from "./random/mod.ts";
import type { GenerateEvent, Request } from "./request.ts";
import type { Schedule } from "./schedulers/schedule.ts";
import { scheduleFor } from "./schedulers/mod.ts";
import { decode } from "./vae.ts";

/** What {@link Pipeline.generate} does beside the picture. */
export interface GenerateOptions {
  /** Whether step events carry the latent. Costs a wait a step. */
  readonly latents?: boolean;
}

/** The VAE's decoder, recorded for the denoiser's size. */
interface Decoding {
  readonly image: Tensor;
  readonly program: Program;
}

/** The recorded programs of a request, for measurements. */
export interface Stages {
  /** The text encoder, and what else all steps share. */
  readonly text: Program;
  /** One denoising step. */
  readonly step: Program;
  /** The VAE's decoder. */
  readonly decode: Program;
  /** Denoising steps of the request. */
  readonly steps: number;
}

/** A request ready for its first step. */
interface Prepared {
  readonly denoiser: Denoiser;
  readonly schedule: Schedule;
  readonly noise: NoiseSource;
}

/** A model on a GPU. What it records for one size it keeps for the next request of that size. */
export class Pipeline implements AsyncDisposable {
  readonly #parts: Parts;
  #denoiser: Denoiser | undefined;
  #decoding: Decoding | undefined;

  private constructor(parts: Parts) {
    this.#parts = parts;
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
    const again = ({ gpu, family }: Ops) => new Ops(gpu, family, kernels);
    const { ops, vaeOps } = this.#parts;
    return new Pipeline({ ...this.#parts, ops: again(ops), vaeOps: again(vaeOps) });
  }

  /**
   * Draws a picture: a `step` event after each evaluation of the UNet, then one `image`.
   *
   * @throws {RangeError} when the size is not a multiple of the VAE's factor, or the scheduler refuses its settings.
   * @throws {GpuFailedError | GpuMemoryError} when the GPU fails, or the picture is not made of numbers.
   */
  async *generate(
    request: Request,
    options: GenerateOptions = {},
  ): AsyncGenerator<GenerateEvent & { readonly latent?: Float32Array }> {
    const started = performance.now();
    const { width, height } = request;
    const { denoiser, schedule, noise } = await this.#prepare(request);
    const elements = denoiser.elements;
    await this.#parts.ops.gpu.finish();
    const denoising = performance.now();

    let previous = denoising;
    const submit = (index: number) => {
      const step = schedule.steps[index];
      if (step) denoiser.step(step.usesNoise ? noise.normal(elements) : undefined);
    };
    submit(0);
    for (let i = 0; i < schedule.steps.length; i++) {
      // Deno waits for the GPU inside the call and sleeps 10 ms inside the await: the next step is submitted between.
      const finished = this.#parts.ops.gpu.finish();
      if (!options.latents) submit(i + 1);
      await finished;
      const now = performance.now();
      const latent = options.latents ? await denoiser.sample() : undefined;
      yield {
        type: "step",
        step: i + 1,
        steps: schedule.steps.length,
        milliseconds: now - previous,
        ...(latent && { latent }),
      };
      previous = now;
      if (options.latents) submit(i + 1);
    }

    const decoding = performance.now();
    const image = toImage(await this.#decode(denoiser, width, height), width, height);
    const ended = performance.now();
    yield {
      type: "image",
      image,
      timings: { text: denoising - started, denoise: decoding - denoising, decode: ended - decoding },
      peakBytes: this.#parts.ops.gpu.peakBytes,
    };
  }

  /**
   * What {@link generate} runs on the GPU for `request`, its sampler at the start: {@link Stages.step} may run as often
   * as the request has steps.
   */
  async stages(request: Request): Promise<Stages> {
    const { denoiser, schedule } = await this.#prepare(request);
    const decode = this.#decoderOf(denoiser, request.width, request.height).program;
    return { text: denoiser.preparation, step: denoiser.stepping, decode, steps: schedule.steps.length };
  }

  /** Prompts, timesteps and noise of a request to the GPU. */
  async #prepare(request: Request): Promise<Prepared> {
    const { model, tokenizer, decoder } = this.#parts;
    const { factor, scalingFactor } = decoder.config;
    const { width, height, guidance } = request;
    if (width % factor !== 0 || height % factor !== 0) {
      throw new RangeError(
        `A picture of ${width}x${height} is not made of whole latents of ${factor}x${factor} pixels`,
      );
    }
    const schedule = scheduleFor(model.config.scheduler, { steps: request.steps, name: request.scheduler });
    // As in diffusers: a scale of 1 or less is the conditional prediction alone.
    const guided = guidance > 1;
    const prompts = guided ? [request.negativePrompt, request.prompt] : [request.prompt];
    const ids = await Promise.all(prompts.map(async (prompt) => (await tokenizer.encode(prompt)).ids));
    const denoiser = this.#denoise({
      height: height / factor,
      width: width / factor,
      guided,
      evaluations: schedule.steps.length,
      slots: schedule.slots,
      tokens: ids[0]!.length,
    });
    denoiser.prepare(ids, schedule);
    const noise = createNoiseSource(request.rng, request.seed);
    const sample = noise.normal(denoiser.elements).map((value) => value * schedule.initNoiseSigma);
    denoiser.start(schedule, { sample, guidance, finalScale: 1 / scalingFactor });
    return { denoiser, schedule, noise };
  }

  /** The recorded denoising loop of `shape`; the one before is given up when it was of another. */
  #denoise(shape: DenoiserShape): Denoiser {
    if (JSON.stringify(this.#denoiser?.shape) !== JSON.stringify(shape)) {
      this.#denoiser?.dispose();
      this.#releaseDecoding();
      this.#denoiser = recordDenoiser(this.#parts.ops, this.#parts.weights, shape);
    }
    return this.#denoiser!;
  }

  /**
   * The VAE's picture `[3, height, width]` of the denoiser's latent.
   *
   * @throws {GpuFailedError} when the latent is not made of numbers.
   */
  async #decode(denoiser: Denoiser, width: number, height: number): Promise<Float32Array> {
    const { program, image } = this.#decoderOf(denoiser, width, height);
    program.run();
    const values = await this.#parts.vaeOps.read(image);
    if (values.some(Number.isNaN) && (await denoiser.sample()).some(Number.isNaN)) {
      throw new GpuFailedError("The UNet's latent holds values that are not numbers");
    }
    return values;
  }

  #decoderOf({ latent }: Denoiser, width: number, height: number): Decoding {
    if (!this.#decoding) {
      const { vaeOps: ops, decoder } = this.#parts;
      const image = ops.keep({ batch: 1, channels: decoder.config.imageChannels, height, width }, "image");
      const program = ops.record(() => ops.copy(decode(ops, decoder, latent), image));
      this.#decoding = { image, program };
    }
    return this.#decoding;
  }

  #releaseDecoding(): void {
    if (!this.#decoding) return;
    this.#decoding.program.dispose();
    this.#parts.ops.gpu.free(this.#decoding.image.memory);
    this.#decoding = undefined;
  }

  /** Gives back the memory of what it recorded; the weights go with the {@link Gpu}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#denoiser?.dispose();
    this.#denoiser = undefined;
    this.#releaseDecoding();
    this.#parts.ops.dispose();
    this.#parts.vaeOps.dispose();
    return Promise.resolve();
  }
}
