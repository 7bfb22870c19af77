/**
 * An opened model that draws one picture after the other; GPU and weights are loaded for the first one and kept.
 * @module
 */
import type { AdapterInfo, Model, Pipeline } from "../pipeline/mod.ts";
import type { GenerateEvent, Image, Request, Timings } from "../pipeline/request.ts";
import type { Tokenizer } from "../pipeline/tokenizer.ts";
import type { Environment, PipelineModule } from "./environment.ts";
import type { OptionValues } from "./options.ts";
import { checkSchedule, completeRequest, describeCuts } from "./picture_request.ts";
import type { Step } from "./progress.ts";

/** A picture, and what it took. */
export interface Drawn {
  /** The pixels. */
  readonly image: Image;
  /** Time of each stage in milliseconds; `load` is 0 where GPU and weights were there already. */
  readonly timings: Timings & { readonly load: number };
  /** The most GPU memory that was held at once, in bytes. */
  readonly peakBytes: number;
  /** The GPU. */
  readonly adapter: AdapterInfo;
}

/** The GPU, and the model's weights on it. */
interface Loaded {
  readonly adapter: AdapterInfo;
  readonly pipeline: Pipeline;
}

/** A model ready to draw; disposing of it closes the model's files and the GPU. */
export class Studio implements AsyncDisposable {
  /** The opened model. */
  readonly model: Model;
  readonly #resources: AsyncDisposableStack;
  readonly #module: PipelineModule;
  readonly #options: OptionValues;
  #tokenizer: Tokenizer | undefined;
  #loaded: Loaded | undefined;

  private constructor(module: PipelineModule, options: OptionValues) {
    this.#resources = new AsyncDisposableStack();
    this.model = this.#resources.use(module.openModel(options.model ?? "emoji"));
    this.#module = module;
    this.#options = options;
  }

  /**
   * Opens the model that `options` name; the GPU stays closed until the first picture.
   *
   * @throws {ModelNotFoundError | ModelFileError} when the model is absent or damaged.
   */
  static async open(options: OptionValues, { stderr, loadPipeline }: Environment): Promise<Studio> {
    const studio = new Studio(await loadPipeline(), options);
    if (options.model === undefined) stderr.write(`${introduce(studio.model)}\n`);
    return studio;
  }

  /**
   * The complete request of a picture, checked as far as no GPU is needed.
   *
   * @throws {UsageError | ModelFileError} when its scheduler refuses the settings.
   */
  request(values: OptionValues, prompt: string, seed: bigint): Request {
    const request = completeRequest(values, { prompt, seed, model: this.model });
    checkSchedule(request, this.model, this.#module);
    return request;
  }

  /** A line for each thing in `request` that the model will not heed. */
  async warnings(request: Request): Promise<string[]> {
    this.#tokenizer ??= await this.#module.loadTokenizer(this.model.tokenizer);
    return describeCuts(request, this.#tokenizer);
  }

  /**
   * Draws a picture.
   *
   * @throws {NoGpuError | ModelFileError | GpuMemoryError | GpuFailedError} when GPU or model fail.
   */
  async draw(request: Request, onStep: (step: Step) => void): Promise<Drawn> {
    const start = performance.now();
    const { adapter, pipeline } = this.#loaded ??= await this.#load();
    const load = performance.now() - start;
    const { image, timings, peakBytes } = await finish(pipeline.generate(request), onStep);
    return { image, timings: { load, ...timings }, peakBytes, adapter };
  }

  async #load(): Promise<Loaded> {
    const { Gpu, Pipeline } = this.#module;
    const { precision, kernels } = this.#options;
    const gpu = this.#resources.use(await Gpu.open());
    const pipeline = this.#resources.use(await Pipeline.load(gpu, this.model, { precision, kernels }));
    return { adapter: gpu.adapter, pipeline };
  }

  /** Gives back what it opened. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }
}

/** Says what to expect of a model that nobody asked for. */
function introduce({ name, defaults }: Model): string {
  return ["No model was named, so the embedded one draws", name, defaults.knows ?? []].flat().join(": ");
}

async function finish(
  events: AsyncIterable<GenerateEvent>,
  onStep: (step: Step) => void,
): Promise<Extract<GenerateEvent, { type: "image" }>> {
  for await (const event of events) {
    if (event.type === "image") return event;
    onStep(event);
  }
  throw new Error("The pipeline ended without a picture");
}
