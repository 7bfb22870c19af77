/**
 * A model on a GPU, ready to draw.
 * @module
 */
import { GpuFailedError } from "../kernels/errors.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { chooseFamily } from "../kernels/mod.ts";
import { Ops } from "../kernels/ops.ts";
import type { Program } from "../kernels/program.ts";
import type { Tensor } from "../kernels/tensor.ts";
import { type Model, ModelFileError } from "../weights/mod.ts";
import {
  readTextConfig,
  readUnetConfig,
  readVaeConfig,
  type TextConfig,
  type UnetConfig,
  type VaeConfig,
} from "./config.ts";
import { type Denoiser, type DenoiserShape, type DenoiserWeights, recordDenoiser } from "./denoiser.ts";
import { toImage } from "./image.ts";
import { Parameters, type Precision } from "./parameters.ts";
import { createNoiseSource } from "./random/mod.ts";
import type { GenerateEvent, Request } from "./request.ts";
import { scheduleFor } from "./schedulers/mod.ts";
import { readTextEncoder } from "./text_encoder.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";
import { readUnet } from "./unet.ts";
import { decode, readDecoder, type VaeWeights } from "./vae.ts";

/** How a pipeline is loaded. */
export interface PipelineOptions {
  /** How weights are stored; default `auto`. */
  readonly precision?: Precision;
}

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

/** A model on a GPU. What it records for one size it keeps for the next request of that size. */
export class Pipeline implements AsyncDisposable {
  readonly #ops: Ops;
  readonly #model: Model;
  readonly #tokenizer: Tokenizer;
  readonly #weights: DenoiserWeights;
  readonly #decoder: VaeWeights;
  #denoiser: Denoiser | undefined;
  #decoding: Decoding | undefined;

  private constructor(ops: Ops, model: Model, tokenizer: Tokenizer, weights: DenoiserWeights, decoder: VaeWeights) {
    this.#ops = ops;
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#weights = weights;
    this.#decoder = decoder;
  }

  /**
   * Reads a model's weights onto the GPU.
   *
   * @throws {ModelFileError} when a tensor is missing or misshapen, or the model is of a kind that is not supported.
   */
  static async load(gpu: Gpu, model: Model, options: PipelineOptions = {}): Promise<Pipeline> {
    const ops = new Ops(gpu, await chooseFamily(gpu));
    const { config } = model;
    const text = readTextConfig(config.textEncoder);
    const unet = readUnetConfig(config.unet);
    const vae = readVaeConfig(config.vae);
    checkParts(unet, vae, text);
    const parameters = (part: "textEncoder" | "unet" | "vae") => new Parameters(ops, model[part], options.precision);
    const weights = {
      text: readTextEncoder(parameters("textEncoder"), text),
      unet: readUnet(parameters("unet"), unet),
    };
    const decoder = readDecoder(parameters("vae"), vae);
    const tokenizer = await loadTokenizer(model.tokenizer);
    gpu.check();
    return new Pipeline(ops, model, tokenizer, weights, decoder);
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
    const { factor, latentChannels, scalingFactor } = this.#decoder.config;
    const { width, height, guidance } = request;
    if (width % factor !== 0 || height % factor !== 0) {
      throw new RangeError(
        `A picture of ${width}x${height} is not made of whole latents of ${factor}x${factor} pixels`,
      );
    }
    const schedule = scheduleFor(this.#model.config.scheduler, { steps: request.steps, name: request.scheduler });
    // As in diffusers: a scale of 1 or less is the conditional prediction alone.
    const guided = guidance > 1;
    const prompts = guided ? [request.negativePrompt, request.prompt] : [request.prompt];
    const ids = await Promise.all(prompts.map(async (prompt) => (await this.#tokenizer.encode(prompt)).ids));
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
    const elements = latentChannels * denoiser.shape.height * denoiser.shape.width;
    const sample = noise.normal(elements).map((value) => value * schedule.initNoiseSigma);
    denoiser.start(schedule, { sample, guidance, finalScale: 1 / scalingFactor });
    await this.#ops.gpu.finish();
    const denoising = performance.now();

    let previous = denoising;
    const submit = (index: number) => {
      const step = schedule.steps[index];
      if (step) denoiser.step(step.usesNoise ? noise.normal(elements) : undefined);
    };
    submit(0);
    for (let i = 0; i < schedule.steps.length; i++) {
      // Deno waits for the GPU inside the call and sleeps 10 ms inside the await: the next step is submitted between.
      const finished = this.#ops.gpu.finish();
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
      peakBytes: this.#ops.gpu.peakBytes,
    };
  }

  /** The recorded denoising loop of `shape`; the one before is given up when it was of another. */
  #denoise(shape: DenoiserShape): Denoiser {
    if (JSON.stringify(this.#denoiser?.shape) !== JSON.stringify(shape)) {
      this.#denoiser?.dispose();
      this.#releaseDecoding();
      this.#denoiser = recordDenoiser(this.#ops, this.#weights, shape);
    }
    return this.#denoiser!;
  }

  /**
   * The VAE's picture `[3, height, width]` of the denoiser's latent.
   *
   * @throws {GpuFailedError} when the latent is not made of numbers.
   */
  async #decode(denoiser: Denoiser, width: number, height: number): Promise<Float32Array> {
    this.#decoding ??= this.#recordDecoding(denoiser.latent, width, height);
    this.#decoding.program.run();
    const values = await this.#ops.read(this.#decoding.image);
    if (values.some(Number.isNaN) && (await denoiser.sample()).some(Number.isNaN)) {
      throw new GpuFailedError("The UNet's latent holds values that are not numbers");
    }
    return values;
  }

  #recordDecoding(latent: Tensor, width: number, height: number): Decoding {
    const image = this.#ops.keep({ batch: 1, channels: this.#decoder.config.imageChannels, height, width }, "image");
    const program = this.#ops.record(() => this.#ops.copy(decode(this.#ops, this.#decoder, latent), image));
    return { image, program };
  }

  #releaseDecoding(): void {
    if (!this.#decoding) return;
    this.#decoding.program.dispose();
    this.#ops.gpu.free(this.#decoding.image.memory);
    this.#decoding = undefined;
  }

  /** Gives the recorded programs' memory back; the weights go with the {@link Gpu}. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#denoiser?.dispose();
    this.#denoiser = undefined;
    this.#releaseDecoding();
    return Promise.resolve();
  }
}

/** Refuses parts that do not fit together. */
function checkParts(unet: UnetConfig, vae: VaeConfig, text: TextConfig): void {
  const { inChannels, outChannels, contextWidth } = unet;
  if (inChannels !== vae.latentChannels || outChannels !== vae.latentChannels) {
    const shape = `${inChannels} channels to ${outChannels}`;
    throw new ModelFileError("unet/config.json", `maps ${shape}, but the VAE's latents have ${vae.latentChannels}`);
  }
  if (contextWidth !== text.width) {
    const widths = `${contextWidth}, and the text encoder writes ${text.width}`;
    throw new ModelFileError("unet/config.json", `reads a context of width ${widths}`);
  }
}
