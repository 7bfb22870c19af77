/**
 * A model on a GPU, ready to draw.
 * @module
 */
import { type Backends, chooseBackends, type Gpu, Ops, type Program } from "../kernels/mod.ts";
import { AUTO, type Optimizations } from "../kernels/optimizations.ts";
import { Selection, type SelectionOptions } from "../kernels/selection.ts";
import { byPart, partsOf, type UpscalerFile } from "../weights/mod.ts";
import { compareStages, type Deviation, type Reference } from "./compare.ts";
import { complete, type CompleteRequest, isComplete } from "./complete.ts";
import { controlsOf, LoadedControlNet } from "./controlnets.ts";
import { Decoder } from "./decoder.ts";
import { Encoder } from "./encoder.ts";
import type { Net, StageName } from "./families/family.ts";
import { toImage } from "./image.ts";
import { type Loop, type LoopShape, recordLoop, runSteps } from "./loop.ts";
import { PartWeights } from "./loras.ts";
import type { Model } from "./model.ts";
import { checkModel } from "./check_model.ts";
import { readVaeConfig } from "./nets/config.ts";
import { Parameters, type Precision } from "./nets/parameters.ts";
import { PlannedParameters } from "./nets/planned.ts";
import { readDecoder, readEncoder, type VaeWeights } from "./nets/vae.ts";
import { createNoiseSource, type NoiseSource } from "./random/mod.ts";
import type { Schedule } from "./schedulers/schedule.ts";
import type { GenerateEvent, Image, NamedUpscaler, Request, Timings } from "./request.ts";
import { resizeLatent } from "./resize.ts";
import { drawLatent } from "./preview.ts";
import { PreviewDecoder, type PreviewVae } from "./preview_vae.ts";
import { Residency, type StageBytes, type Staged } from "./residency.ts";
import { startOf } from "./start.ts";
import { Upscaler } from "./upscaler.ts";

/** The VAE runs once a picture: only a small one's transformed weights are worth their memory. */
const VAE_TRANSFORMED_BYTES = 32 << 20;

/** How a pipeline is loaded. */
export interface PipelineOptions {
  /** How weights are stored and whether nets may compute in float16; default `auto`: as the model's files are. */
  readonly precision?: Precision;
  /** Which of the paper's optimizations run; default {@link AUTO}. */
  readonly kernels?: Optimizations;
  /** How it is decided which of their kernels run; by default without a memory of earlier runs. */
  readonly selection?: SelectionOptions;
  /**
   * Bytes of GPU memory that must suffice: parts of the model come and go where they do not fit at once. By default they do
   * so as if 7 GiB were to suffice, and a stage that takes more by itself runs all the same.
   */
  readonly memory?: number | undefined;
  /** The first request: what it needs is known, and refused where it must be, before any weights are read. */
  readonly first?: Request | CompleteRequest;
  /** Decodes previews, which are then as large as the picture; by default they are approximated, a pixel for each of a latent's. */
  readonly previewVae?: PreviewVae | undefined;
  /**
   * The kernels to choose among; by default those that suit the GPU.
   * @internal
   */
  readonly backends?: Pick<Backends, "exact" | "half">;
}

/** What {@link Pipeline.generate} does beside the picture. */
export interface GenerateOptions {
  /** Step events carry the latent after every step, or after every so many steps and the last. Each costs a wait. */
  readonly latents?: boolean | number;
  /** Step events carry a preview after every so many steps and the last. Each costs two waits. */
  readonly previews?: number;
}

/** A recorded program, for measurements. */
export interface StageProgram {
  readonly program: Program;
  /** Makes it ready to run. */
  enter(): Promise<void>;
}

/** The recorded programs of a request. */
export interface Stages {
  /** The text encoder, then what else all steps share. */
  readonly text: readonly StageProgram[];
  /** One denoising step. */
  readonly step: StageProgram;
  /** The VAE's decoder, or one tile of it. */
  readonly decode: StageProgram;
  /** Denoising steps of the request. */
  readonly steps: number;
}

/** What a pipeline works with: the model's weights on the GPU, and the operations that record with them. */
interface Loaded {
  readonly model: Model;
  readonly net: Net;
  readonly ops: Ops;
  readonly weights: PartWeights;
  /** One for each that the model was opened with. */
  readonly controlNets: readonly LoadedControlNet[];
  readonly residency: Residency;
  readonly decoder: Decoder;
  /** Operations of the VAE in float32. */
  readonly exactVaeOps: Ops;
  /** The VAE's encoder, read when it is first asked for; the model must still be open then. */
  readonly encoder: () => Promise<VaeWeights>;
  readonly previews?: PreviewDecoder;
  readonly loadUpscaler: (file: UpscalerFile) => Promise<Upscaler>;
}

/** How a pass is run. */
interface PassOptions extends GenerateOptions {
  /** The steps of all passes, and those of the passes before. */
  readonly steps: number;
  readonly before?: number;
  /** A latent to start from. */
  readonly begun?: Float32Array | undefined;
  /** Whether its latent is wanted, not the picture. */
  readonly isUndecoded?: boolean;
}

/** What a pass made: a picture, or where it was not decoded a latent `[channels, height, width]`. */
interface Drawn {
  readonly image?: Image;
  readonly latent?: Float32Array;
  readonly timings: Timings;
}

/** A model on a GPU. What it records for one size it keeps for the next request of that size. */
export class Pipeline implements AsyncDisposable {
  readonly #loaded: Loaded;
  readonly #encoder: Encoder;
  #loop: Loop | undefined;
  /** What was recorded, stage by stage. */
  #programs: Staged = {};
  #needs: StageBytes = {};
  /** The upscaler that was used last. */
  #upscaler: { readonly sha256: string; readonly net: Upscaler } | undefined;
  /** The version of the weights that it recorded with. */
  #version = 0;

  private constructor(loaded: Loaded) {
    this.#loaded = loaded;
    const ready = (program: Program) => loaded.residency.enter("encode", [program]);
    this.#encoder = new Encoder(loaded.exactVaeOps, loaded.encoder, ready);
  }

  /**
   * Reads a model's weights onto the GPU, if all of them fit; otherwise parts of them are read when they are needed.
   *
   * @throws {ModelFileError} when tensors are missing, misshapen or unknown, or the model is of a kind that is not supported.
   * @throws {GpuMemoryError} when the first request takes more memory than must suffice, or than the GPU can bind.
   * @throws {RequestError} when the model cannot draw the first request.
   */
  static async load(gpu: Gpu, model: Model, options: PipelineOptions = {}): Promise<Pipeline> {
    const pipeline = await Pipeline.#open(gpu, model, options, Parameters);
    if (options.first) {
      const first = await pipeline.#complete(options.first);
      for (const pass of [first.second, first]) {
        if (!pass) continue;
        pipeline.#want(pass);
        await pipeline.#record(pass, options.previewVae !== undefined);
      }
    }
    await pipeline.#loaded.residency.load();
    gpu.check();
    return pipeline;
  }

  /**
   * Bytes of GPU memory that each stage of a picture of a model's own size takes by itself. Nothing is read or kept.
   *
   * @throws {ModelFileError} as {@link load} does.
   * @throws {RequestError} when the model draws no picture without another.
   * @throws {GpuMemoryError} when the GPU cannot bind what it takes.
   */
  static async needs(gpu: Gpu, model: Model, options: PipelineOptions = {}): Promise<StageBytes> {
    await using pipeline = await Pipeline.#open(gpu, model, options, PlannedParameters);
    const { width, height, steps, guidance } = model.defaults;
    const picture = { prompt: "", negativePrompt: "", seed: 0n, steps, guidance, width, height, rng: "cpu" } as const;
    await pipeline.#record(await pipeline.#complete(picture), false);
    return pipeline.needs;
  }

  /** A pipeline without weights. */
  static async #open(
    gpu: Gpu,
    model: Model,
    options: PipelineOptions,
    Kind: typeof Parameters | typeof PlannedParameters,
  ): Promise<Pipeline> {
    checkModel(model);
    const { precision, kernels: optimizations = AUTO } = options;
    const selection = new Selection(gpu.adapter, options.selection);
    const backends = options.backends ?? await chooseBackends(gpu, selection);
    const backend = halfPrecision(model, precision) ? backends.half : backends.exact;
    // Without weights nothing is timed.
    const recording = { optimizations, ...(Kind === Parameters && { selection }) };
    const once = { ...recording, transformedBytes: VAE_TRANSFORMED_BYTES };
    const ops = new Ops(gpu, backend, recording);
    const exactVaeOps = new Ops(gpu, backends.exact, once);
    const vaeOps = backend === backends.exact ? exactVaeOps : new Ops(gpu, backend, once);

    const { config, parts } = model;
    const names = partsOf(parts);
    const parameters = byPart(
      (part) => new Kind(part === "vae" ? vaeOps : ops, parts[part]!, precision),
      names,
    );
    const net = model.family.read(parameters, config);
    const vae = readVaeConfig(config.vae);
    const weights = readDecoder(parameters.vae, vae);
    // In the UNet's type: both compute side by side.
    const own = backend === backends.exact ? precision ?? "auto" : "f16";
    const controlNets = model.controlNets.map((net) => new LoadedControlNet(new Kind(ops, net.source, own), net));
    gpu.check();
    let encoder: VaeWeights | undefined;
    const loadEncoder = async () => {
      const parameters = new Parameters(exactVaeOps, parts.vae, precision);
      const weights = readEncoder(parameters, vae);
      await parameters.load();
      return weights;
    };
    const loadPreviews = async ({ source, config }: PreviewVae) => {
      // Its own operations: it must take none of the memory that the VAE's may spend.
      const [ops, exactOps] = [backend, backends.exact].map((backend) => new Ops(gpu, backend, once)) as [Ops, Ops];
      const parameters = new Parameters(ops, source, precision);
      const weights = readDecoder(parameters, config);
      await parameters.load();
      return { previews: new PreviewDecoder({ ops, exactOps, weights }) };
    };
    const partWeights = new PartWeights(parameters, parts);
    const { selection: selecting } = options;
    return new Pipeline({
      loadUpscaler: (file) => {
        const given = { kernels: optimizations, backends, ...(precision && { precision }) };
        return Upscaler.load(gpu, file, { ...given, ...(selecting && { selection: selecting }) });
      },
      ...(options.previewVae && await loadPreviews(options.previewVae)),
      model,
      net,
      ops,
      weights: partWeights,
      controlNets,
      residency: new Residency(
        { parts: byPart((part) => partWeights.of(part), names), controlNets },
        [ops, vaeOps, exactVaeOps],
        options.memory,
      ),
      decoder: new Decoder({ ops: vaeOps, exactOps: exactVaeOps, weights }),
      exactVaeOps,
      encoder: async () => encoder ??= await loadEncoder(),
    });
  }

  /** Whether {@link Optimizations.matrices} can be on. */
  get hasMatrices(): boolean {
    return this.#loaded.ops.given.withoutMatrices !== undefined;
  }

  /** Bytes of GPU memory that each stage of the last request takes by itself. */
  get needs(): StageBytes {
    return this.#needs;
  }

  /** The same model with other kernels: the weights are shared. */
  with(kernels: Optimizations): Pipeline {
    const again = ({ gpu, given, ...rest }: Ops) => new Ops(gpu, given, { ...rest, optimizations: kernels });
    const { ops, decoder } = this.#loaded;
    const exactVaeOps = again(this.#loaded.exactVaeOps);
    const vaeOps = decoder.exact ? exactVaeOps : again(decoder.ops);
    return new Pipeline({
      ...this.#loaded,
      ops: again(ops),
      decoder: new Decoder({ ops: vaeOps, exactOps: exactVaeOps, weights: decoder.weights }),
      exactVaeOps,
    });
  }

  /**
   * Draws a picture: a `step` event for each evaluation of the net, then one `image`; a `notice` where something did
   * not go as asked. A second pass goes on counting steps.
   *
   * @throws {RequestError} when the model cannot draw what is asked for.
   * @throws {ModelFileError} when there is an init image and the model, which must still be open, has no encoder.
   * @throws {GpuFailedError | GpuMemoryError} when the GPU fails, or the picture is not made of numbers.
   */
  async *generate(
    request: Request | CompleteRequest,
    options: GenerateOptions = {},
  ): AsyncGenerator<GenerateEvent & { readonly latent?: Float32Array }> {
    const first = await this.#complete(request);
    const { hires, second } = first;
    const before = first.schedule.steps.length;
    const steps = before + (second?.schedule.steps.length ?? 0);
    const isUndecoded = hires?.upscaler === "latent";
    let drawn = yield* this.#pass(first, { ...options, steps, isUndecoded });
    if (hires && second) {
      const begun = performance.now();
      const start = await this.#enlarge(drawn, first, second);
      const enlarging = performance.now() - begun;
      const again = {
        ...second,
        seed: first.seed,
        ...(start.image && { init: { image: start.image, strength: hires.strength } }),
      };
      const { timings } = drawn;
      drawn = yield* this.#pass(again, { ...options, steps, before, begun: start.latent });
      drawn = {
        ...drawn,
        timings: sumOf(timings, drawn.timings, { text: 0, encode: enlarging, denoise: 0, decode: 0 }),
      };
    }
    const decoded = performance.now();
    const image = first.upscaler ? await this.#upscale(drawn.image!, first.upscaler) : drawn.image!;
    const timings = { ...drawn.timings, decode: drawn.timings.decode + performance.now() - decoded };
    yield { type: "image", image, timings, peakBytes: this.#loaded.ops.gpu.peakBytes };
  }

  /** All steps of a request, and what they made. */
  async *#pass(
    request: CompleteRequest,
    { steps, before = 0, begun, isUndecoded, ...options }: PassOptions,
  ): AsyncGenerator<Exclude<GenerateEvent, { type: "image" }> & { readonly latent?: Float32Array }, Drawn> {
    const started = performance.now();
    const { model, ops: { gpu }, decoder } = this.#loaded;
    const { latents = 0, previews: previewEvery = 0 } = options;
    const { loop, schedule, noise, encode } = await this.#prepare(request, { previews: previewEvery > 0, begun });
    await gpu.finish();
    const denoising = performance.now();

    const rgb = model.settings.latentToRgb ?? model.family.latent.rgb;
    const decoded = previewEvery > 0 ? this.#loaded.previews : undefined;
    const draw = (latent: Float32Array) => decoded?.draw(latent) ?? drawLatent(latent, { ...loop.shape, rgb });
    const { program } = await decoder.record(loop.latent, request.vaeTiling);
    const meanwhile = () => gpu.prepare(program.kernels);
    const run = { gpu, loop, schedule, noise, latentEvery: Number(latents), previewEvery, draw, meanwhile };
    for await (const event of runSteps(run)) yield { ...event, step: before + event.step, steps };

    const decoding = performance.now();
    const text = denoising - started - (encode ?? 0);
    const timings = { text, ...(encode !== undefined && { encode }), denoise: decoding - denoising, decode: 0 };
    if (isUndecoded) return { latent: await loop.sample(), timings };
    const ready = (program: Program) => this.#loaded.residency.enter("decode", [program]);
    const { values, fellBack } = await decoder.decode(loop.latent, request.vaeTiling, () => loop.sample(), ready);
    if (fellBack) {
      const message = "The VAE left the range of float16: pictures are decoded in float32 from now on";
      yield { type: "notice", message };
    }
    const { width, height } = request;
    const image = toImage(values, { width, height, what: "The VAE's picture" });
    return { image, timings: { ...timings, decode: performance.now() - decoding } };
  }

  /** What the second pass starts from: a latent of its size, or a picture, which its size will be that of. */
  async #enlarge(
    { image, latent }: Drawn,
    { width, height, hires }: CompleteRequest,
    second: CompleteRequest,
  ): Promise<Pick<Drawn, "image" | "latent">> {
    if (latent) {
      const { factor } = this.#loaded.decoder.weights.config;
      const sizeOf = (size: Pick<Request, "width" | "height">) => {
        return { width: size.width / factor, height: size.height / factor };
      };
      return { latent: resizeLatent(latent, sizeOf({ width, height }), sizeOf(second)) };
    }
    const { upscaler } = hires!;
    return { image: typeof upscaler === "object" ? await this.#upscale(image!, upscaler) : image! };
  }

  /** Enlarges a picture; the upscaler is kept until another is asked for. */
  async #upscale(image: Image, { file }: NamedUpscaler): Promise<Image> {
    if (this.#upscaler?.sha256 !== file.sha256) {
      this.#upscaler?.net[Symbol.dispose]();
      this.#upscaler = undefined;
      this.#upscaler = { sha256: file.sha256, net: await this.#loaded.loadUpscaler(file) };
    }
    const { net } = this.#upscaler!;
    try {
      const ready = (program: Program) => this.#loaded.residency.enter("enlarge", [program]);
      return await net.enlarge(image, { ready });
    } finally {
      // The loop needs the memory.
      net.release();
    }
  }

  /**
   * What {@link generate} runs on the GPU for `request`, its sampler at the start: {@link Stages.step} may run as often
   * as the request has steps.
   * @internal
   */
  async stages(request: Request): Promise<Stages> {
    const { loop: { conditions, steppings, latent }, schedule } = await this.#prepare(await this.#complete(request));
    const { program: decode } = await this.#loaded.decoder.record(latent, request.vaeTiling);
    const of = (stage: StageName) => (program: Program): StageProgram => ({
      program,
      enter: () => this.#enter(stage),
    });
    return {
      text: [...conditions.texts.map(of("text")), of("denoise")(conditions.shared)],
      step: of("denoise")(steppings[0]!),
      decode: of("decode")(decode),
      steps: schedule.steps.length,
    };
  }

  /** How far the model's stages are from what another implementation computed with the same weights. */
  compare(reference: Reference): Promise<readonly Deviation[]> {
    const { residency, ...loaded } = this.#loaded;
    return compareStages({ ...loaded, enter: (...stage) => residency.enter(...stage) }, reference);
  }

  #complete(request: Request): CompleteRequest | Promise<CompleteRequest> {
    return isComplete(request) ? request : complete(this.#loaded.model, request);
  }

  /**
   * Prompts, timesteps and noise of a request, and a latent to start from, to the GPU. `encode`: what its init image took
   * in milliseconds.
   */
  async #prepare(
    request: CompleteRequest,
    { previews = false, begun }: { readonly previews?: boolean; readonly begun?: Float32Array | undefined } = {},
  ): Promise<{ loop: Loop; schedule: Schedule; noise: NoiseSource; encode?: number }> {
    const { model: { family }, decoder, ops, controlNets } = this.#loaded;
    const { config: vae } = decoder.weights;
    const { guidance, guidanceRescale = 0, init, schedule, prompts, controls = [] } = request;
    this.#want(request);
    const encoding = performance.now();
    // Before the loop is recorded: its memory and the encoder's need not be there at once.
    const moments = await this.#encoder.encode(request, family.paints === true);
    const encode = performance.now() - encoding;
    const loop = await this.#record(request, previews);
    const { text = [], denoise = [], decode = [] } = this.#programs;
    const [soon, later] = [[...text, ...denoise], decode].map((own) => own.flatMap(({ kernels }) => kernels));
    await ops.gpu.prepare(soon!, later);
    const noise = createNoiseSource(request.rng, request.seed);
    const { kept, ...start } = startOf(request, { schedule, noise, vae, moments, begun });
    const timesteps = schedule.steps.map(({ timestep }) => timestep);
    const hint = (number: number) => controlNets[number]!.see(controls[number]!, request);
    const inputs = { prompts, timesteps, request, ...(kept && { kept }), hint };
    await loop.conditions.prepare(inputs, (stage) => this.#enter(stage));
    loop.start(schedule, { ...start, guidance, guidanceRescale, finalScale: 1 / vae.scalingFactor });
    return { loop, schedule, noise, ...(init && { encode }) };
  }

  /** Asks for the request's ControlNets, and weights with its LoRAs; what was recorded may hold what was made of others. */
  #want(request: CompleteRequest): void {
    const { loras = [], controls = [], schedule } = request;
    const { weights, ops, controlNets } = this.#loaded;
    const active = new Set(controlsOf(request, schedule.steps.length).flat());
    controlNets.forEach((net, i) => net.want(active.has(i) ? controls[i]!.strength ?? 1 : undefined));
    weights.want(loras);
    if (weights.version === this.#version) return;
    this.#version = weights.version;
    this.#loop?.dispose();
    this.#loop = undefined;
    ops.dispose();
  }

  /** What a request's loop is recorded for. */
  #shapeOf(request: CompleteRequest): LoopShape {
    const { width, height, guidanceRescale = 0, clipSkip = 1, init, schedule, prompts } = request;
    const { model: { family }, decoder: { weights: { config } } } = this.#loaded;
    const samples = prompts[0]!;
    const active = controlsOf(request, schedule.steps.length);
    return {
      channels: config.latentChannels,
      height: height / config.factor,
      width: width / config.factor,
      samples: samples.length,
      evaluations: schedule.steps.length,
      slots: schedule.slots,
      tokens: samples[0]![0]!.ids.length,
      chunks: samples[0]!.length,
      clipSkip,
      ...(active.flat().length > 0 && { controls: active }),
      masked: init?.mask !== undefined && !family.paints,
      rescaled: guidanceRescale > 0 && samples.length === 2,
    };
  }

  /**
   * The recorded loop of a request, and the decoder for it, and for its previews; the one before is given up when it was
   * for another.
   */
  async #record(request: CompleteRequest, previews: boolean): Promise<Loop> {
    const { ops, net, decoder, residency, controlNets } = this.#loaded;
    const shape = this.#shapeOf(request);
    if (JSON.stringify(this.#loop?.shape) !== JSON.stringify(shape)) {
      this.#loop?.dispose();
      this.#loop = undefined;
      decoder.release();
      this.#loaded.previews?.release();
      this.#loop = await recordLoop(ops, net, shape, controlNets.map(({ weights }) => weights));
    }
    const loop = this.#loop!;
    const { conditions: { texts, shared }, steppings, latent } = loop;
    const { program } = await decoder.record(latent, request.vaeTiling);
    const preview = previews ? await this.#loaded.previews?.prepare(shape) : undefined;
    const denoise = [shared, ...new Set(steppings), ...(preview ? [preview] : [])];
    const programs = { text: texts, denoise, decode: [program] };
    const known = new Set(Object.values(this.#programs).flat());
    if (!known.isSupersetOf(new Set(Object.values(programs).flat()))) this.#needs = residency.plan(programs);
    this.#programs = programs;
    return loop;
  }

  /** Makes a stage of what was recorded ready to run. */
  #enter(stage: StageName): Promise<void> {
    return this.#loaded.residency.enter(stage, this.#programs[stage] ?? []);
  }

  /** Gives back the memory of what it recorded; the weights go with the {@link Gpu}. */
  [Symbol.asyncDispose](): Promise<void> {
    const { ops, decoder, exactVaeOps } = this.#loaded;
    this.#loop?.dispose();
    this.#loop = undefined;
    decoder.dispose();
    this.#loaded.previews?.dispose();
    this.#upscaler?.net[Symbol.dispose]();
    this.#upscaler = undefined;
    ops.dispose();
    exactVaeOps.dispose();
    return Promise.resolve();
  }
}

function sumOf(...all: readonly Timings[]): Timings {
  const sum = (stage: keyof Timings) => all.reduce((sum, timings) => sum + (timings[stage] ?? 0), 0);
  return { text: sum("text"), encode: sum("encode"), denoise: sum("denoise"), decode: sum("decode") };
}

/** Whether float16 arithmetic is wanted: asked for, or what the UNet's weights are stored in. */
function halfPrecision({ parts }: Model, precision: Precision = "auto"): boolean {
  if (precision !== "auto") return precision === "f16";
  return [...parts.unet.tensors.values()].every(({ dtype }) => dtype === "F16");
}
