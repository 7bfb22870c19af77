/**
 * An opened model that draws one picture after the other; GPU and weights are loaded for the first one and kept.
 * @module
 */
import type { AdapterInfo, Model, Pipeline, PipelineOptions } from "../pipeline/mod.ts";
import type { GenerateEvent, Image, Request, Timings } from "../pipeline/request.ts";
import type { Tokenizer } from "../pipeline/tokenizer.ts";
import type { Environment, PipelineModule } from "./environment.ts";
import { ImageFiles } from "./image_files.ts";
import { checkStrength, describeStretch } from "./init_image.ts";
import { selectionOf } from "./kernel_timings.ts";
import type { OptionValues } from "./options.ts";
import type { Job } from "./picture_job.ts";
import { checkPrompts, checkSchedule, completeRequest, describeCuts } from "./picture_request.ts";
import type { Step } from "./progress.ts";

/** A picture, and what it took. */
export interface Drawn {
  /** The pixels. */
  readonly image: Image;
  /** Time of each stage. */
  readonly timings: Timings;
  /** The most GPU memory that was held at once, in bytes. */
  readonly peakBytes: number;
  /** The GPU. */
  readonly adapter: AdapterInfo;
}

/** What is called while a picture is drawn. */
export interface Listeners {
  /** After each step. */
  readonly onStep: (step: Step) => void;
  /** With a preview, where they are asked for. */
  readonly onPreview: (preview: Image) => void;
  /** Steps between previews; 0 for none. */
  readonly previewEvery: number;
  /** With what was done otherwise than asked. */
  readonly onNotice: (message: string) => void;
}

/** The GPU, and the model's weights on it. */
interface Loaded {
  readonly adapter: AdapterInfo;
  readonly pipeline: Pipeline;
  readonly resources: AsyncDisposableStack;
}

/** A model ready to draw; disposing of it closes the model's files and the GPU. */
export class Studio implements AsyncDisposable {
  /** The opened model. */
  readonly model: Model;
  readonly #module: PipelineModule;
  readonly #options: PipelineOptions;
  readonly #files: ImageFiles;
  #tokenizer: Tokenizer | undefined;
  #loaded: Loaded | undefined;

  private constructor(module: PipelineModule, model: Model, options: PipelineOptions, files: ImageFiles) {
    this.model = model;
    this.#module = module;
    this.#options = options;
    this.#files = files;
  }

  /**
   * Opens the model that `options` name; the GPU stays closed until the first picture.
   *
   * @throws {ModelNotFoundError | ModelFileError} when the model is absent or damaged.
   */
  static async open(options: OptionValues, environment: Environment): Promise<Studio> {
    const module = await environment.loadPipeline();
    const { model: name, precision, kernels } = options;
    const model = module.openModel(name ?? "emoji", { tokenizer: options.tokenizer, variable: environment.variable });
    if (name === undefined) environment.stderr.write(`${introduce(model)}\n`);
    const loading = { precision, kernels, selection: selectionOf(options, environment) };
    return new Studio(module, model, loading, new ImageFiles(environment.folder));
  }

  /**
   * The complete request of a picture, checked as far as no GPU is needed.
   *
   * @throws {UsageError | ModelFileError} when its scheduler or text encoder refuses the settings, or there is an init
   * image and it cannot be read, or the model cannot start from one.
   */
  request({ values, prompt, seed }: Job): Request {
    const request = completeRequest(values, { prompt, seed, model: this.model, files: this.#files });
    if (request.init) this.#module.checkEncoder(this.model);
    checkStrength(request);
    checkSchedule(request, this.model, this.#module);
    checkPrompts(request, this.model);
    return request;
  }

  /** A line for each thing in `request` that the model will not heed. */
  async warnings(request: Request): Promise<string[]> {
    this.#tokenizer ??= await this.#module.loadTokenizer(this.model.tokenizer);
    return [...describeStretch(request), ...await describeCuts(request, this.#tokenizer, this.#module)];
  }

  /**
   * Opens the GPU and brings the model's weights there, where that was not done yet.
   *
   * @returns the milliseconds it took.
   * @throws {NoGpuError | ModelFileError | GpuMemoryError | GpuFailedError} when GPU or model fail.
   */
  async load(): Promise<number> {
    const start = performance.now();
    if (this.#loaded !== undefined) return 0;
    const { Gpu, Pipeline } = this.#module;
    await using stack = new AsyncDisposableStack();
    const gpu = stack.use(await Gpu.open());
    const pipeline = stack.use(await Pipeline.load(gpu, this.model, this.#options));
    this.#loaded = { adapter: gpu.adapter, pipeline, resources: stack.move() };
    return performance.now() - start;
  }

  /** Name of the GPU; undefined while none is open. */
  get adapter(): string | undefined {
    return this.#loaded?.adapter.description;
  }

  /** Gives back the GPU; the next {@link load} opens it again. */
  async unload(): Promise<void> {
    await this.#loaded?.resources.disposeAsync();
    this.#loaded = undefined;
  }

  /**
   * Draws a picture, loaded by now.
   *
   * @throws {GpuMemoryError | GpuFailedError} when the GPU fails.
   */
  async draw(request: Request, listeners: Listeners): Promise<Drawn> {
    const { adapter, pipeline } = this.#loaded!;
    const { image, timings, peakBytes } = await finish(
      pipeline.generate(request, { previews: listeners.previewEvery }),
      listeners,
    );
    return { image, timings, peakBytes, adapter };
  }

  /** Gives back what it opened. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.unload();
    this.model[Symbol.dispose]();
  }
}

/** Says what to expect of a model that nobody asked for. */
function introduce({ name, defaults }: Model): string {
  return ["No model was named, so the embedded one draws", name, defaults.knows ?? []].flat().join(": ");
}

async function finish(
  events: AsyncIterable<GenerateEvent>,
  { onStep, onPreview, onNotice }: Listeners,
): Promise<Extract<GenerateEvent, { type: "image" }>> {
  for await (const event of events) {
    if (event.type === "image") return event;
    if (event.type === "notice") {
      onNotice(event.message);
      continue;
    }
    onStep(event);
    if (event.preview) onPreview(event.preview);
  }
  throw new Error("The pipeline ended without a picture");
}
