/**
 * An opened model that draws one picture after the other, writes each and reports it. GPU and weights are loaded for the
 * first one and kept.
 * @module
 */
import { resolve } from "@std/path";
import type { AdapterInfo, CompleteRequest, Model, PreviewVae } from "../pipeline/mod.ts";
import type { ProviderName } from "../pipeline/webgpu.ts";
import { LIMITS } from "../pipeline/limits.ts";
import type { GenerateEvent, Image } from "../pipeline/request.ts";
import { resize } from "../pipeline/resize.ts";
import { showCount } from "./byte_count.ts";
import { checkCount, checkSheet, composeSheet } from "./contact_sheet.ts";
import { deviceOptions, providerOf } from "./dawn.ts";
import { type Environment, type LoadedPipeline, type PipelineModule, say } from "./environment.ts";
import { exitCodeOf, OutputError, UsageError } from "./errors.ts";
import { infoOf, type Places, writeWhole } from "./files.ts";
import { ImageFiles } from "./init_image.ts";
import { findInlineEncoder, type InlineEncoder } from "./inline_picture.ts";
import { AHEAD, checkPlace, countOf, type Failure, isFailure, type Job, jobsOf, type Plan } from "./jobs.ts";
import { EmbeddingFiles } from "./embeddings.ts";
import { sizesOf, UpscalerFiles } from "./hires.ts";
import { LoraFiles } from "./loras.ts";
import { selectionOf } from "./kernel_timings.ts";
import { givenTo, writeMetadata } from "./metadata.ts";
import type { OptionValues } from "./options.ts";
import { writeNamed, writePicture } from "./output.ts";
import { decodePng, encodePng } from "./png.ts";
import { readBytes } from "./reading.ts";
import { createProgress, type Progress } from "./progress.ts";
import { type Made, type Outcome, reportOutcome } from "./report.ts";
import { completeRequest, createRequest, type Spec } from "./request.ts";
import { block, inline } from "./terminal.ts";

/** The GPU, and the model's weights on it. */
interface Loaded {
  readonly adapter: AdapterInfo;
  readonly pipeline: LoadedPipeline;
  readonly resources: AsyncDisposableStack;
}

interface Run {
  /** Its options, which lines of a batch cannot change. */
  readonly values: OptionValues;
  readonly environment: Environment;
  /** What is known of the folders that it writes to. */
  readonly places: Places;
  /** When it began, as `performance.now()` counts. */
  readonly start: number;
}

/** Disposing of it closes the model's files and the GPU. */
export class Session implements AsyncDisposable {
  readonly model: Model;
  readonly #previewVae: PreviewVae | undefined;
  readonly #webgpu: ProviderName;
  readonly #module: PipelineModule;
  readonly #values: OptionValues;
  readonly #environment: Environment;
  readonly #files: {
    readonly images: ImageFiles;
    readonly loras: LoraFiles;
    readonly embeddings: EmbeddingFiles;
    readonly upscalers: UpscalerFiles;
  };
  readonly #completed = new Map<Spec, Promise<CompleteRequest>>();
  /** The last notices that were given: pictures of one prompt have the same. */
  readonly #told = new Set<string>();
  readonly #places: Places;
  #previewFailed = false;
  /** The pictures of the contact sheet. */
  readonly #sheet: Image[] = [];
  /** How the terminal shows pictures, if it does. */
  readonly #inline: InlineEncoder | undefined;
  #loaded: Loaded | undefined;
  /** When the picture before was ready. */
  #since: number;

  private constructor(module: PipelineModule, { values, environment, places, start }: Run) {
    const { model: name = "emoji", tokenizer, vae, controlnet: controlNets, "preview-vae": previews } = values;
    this.#webgpu = providerOf(values, environment.variable);
    using stack = new DisposableStack();
    this.model = stack.use(module.openModel(name, { tokenizer, vae, controlNets, variable: environment.variable }));
    this.#previewVae = previews === undefined ? undefined : stack.use(module.openPreviewVae(previews, this.model));
    stack.move();
    this.#module = module;
    this.#values = values;
    this.#environment = environment;
    this.#places = places;
    const { folder } = environment;
    this.#files = {
      images: new ImageFiles(folder),
      loras: new LoraFiles(module, this.model, folder),
      embeddings: new EmbeddingFiles(module, this.model, folder),
      upscalers: new UpscalerFiles(module, folder),
    };
    this.#inline = findInlineEncoder(environment);
    this.#since = start;
  }

  /**
   * Opens the model; the GPU stays closed until the first picture.
   *
   * @throws {ModelNotFoundError | ModelFileError} when the model is absent or damaged.
   * @throws {UsageError} when the environment names no WebGPU that there is.
   */
  static async open(run: Run): Promise<Session> {
    return new Session(await run.environment.loadPipeline(), run);
  }

  /**
   * The complete request of a picture; those of one `--count` share all but the seed.
   *
   * @throws {UsageError | ModelFileError | ModelNotFoundError} when an init image, a LoRA, a textual inversion or an upscaler
   * cannot be read, or the model cannot do what is asked for.
   */
  async complete({ spec, seed }: Pick<Job, "spec" | "seed">): Promise<CompleteRequest> {
    const model = this.model;
    const create = () => createRequest(spec, { seed, model, ...this.#files });
    const completed = this.#completed.get(spec) ??
      Promise.try(() => completeRequest(create(), { model, module: this.#module, strength: spec.values.strength }));
    this.#completed.set(spec, completed);
    return { ...await completed, seed };
  }

  /** The GPU; undefined while none is open. */
  get adapter(): AdapterInfo | undefined {
    return this.#loaded?.adapter;
  }

  /**
   * Draws the pictures of `plan` in their order. What can be refused of the first {@link AHEAD} items without the GPU is
   * refused before it is opened. The first failure ends the run, unless `--continue-on-error` is given; what keeps GPU or
   * model from loading always does.
   *
   * @returns the exit code: 0, or, after failures that were reported, the code they share, or 1.
   */
  async draw(plan: Plan): Promise<number> {
    const { show, progress: mode, json: asJson, "dry-run": dryRun } = this.#values;
    const pictures = plan.reduce((sum, item) => sum + countOf(item), 0);
    await this.#check(plan, pictures);
    if (this.#values.model === undefined) this.#say(introduce(this.model));
    if (show && this.#inline === undefined) this.#say("--show: this terminal has no known way to show pictures");
    const codes = new Set<number>();
    let picture = 0;
    for (const item of plan) {
      for (const job of jobsOf(item)) {
        picture++;
        const subject = isFailure(job) ? "" : `, seed ${job.seed}: ${inline(JSON.stringify(job.spec.prompt), 200)}`;
        if (pictures > 1 && !dryRun) this.#say(`Picture ${picture} of ${pictures}${subject}`);
        const progress = createProgress(this.#environment, { mode, picture, pictures });
        const outcome = await this.#attend(job, progress).finally(() => progress.breakLine());
        await reportOutcome(outcome, { model: this.model, environment: this.#environment, asJson });
        if (outcome.status === "error") codes.add(exitCodeOf(outcome.error));
      }
      if (!isFailure(item)) this.#completed.delete(item.spec);
    }
    this.#writeSheet();
    return codes.size === 1 ? [...codes][0]! : Math.min(codes.size, 1);
  }

  /** Completes the first requests; a contact sheet needs the sizes of all. */
  async #check(plan: Plan, pictures: number): Promise<void> {
    const { grid, "continue-on-error": goesOn } = this.#values;
    if (grid !== undefined) checkCount(pictures);
    const sizes: Pick<Image, "width" | "height">[] = [];
    for (const item of grid === undefined ? plan.slice(0, AHEAD) : plan) {
      if (isFailure(item)) continue;
      try {
        const { width, height } = sizesOf(await this.complete(item)).final;
        for (let i = 0; i < countOf(item) && grid !== undefined; i++) sizes.push({ width, height });
      } catch (error) {
        if (!goesOn) throw error;
      }
      if (this.#completed.size > AHEAD) this.#completed.delete(item.spec);
    }
    if (grid !== undefined) checkSheet(sizes);
  }

  async #attend(job: Job | Failure, progress: Progress): Promise<Outcome> {
    if (isFailure(job)) return job;
    const { folder } = this.#environment;
    const path = resolve(folder, job.name);
    if (this.#values["skip-existing"] && infoOf(path)) return this.#skip(job, path);
    let request: CompleteRequest;
    try {
      checkPlace(job, { values: this.#values, folder, places: this.#places });
      request = await this.complete(job);
    } catch (error) {
      return this.#fail(job, error as Error);
    }
    for (const notice of request.notices) this.#tell(notice);
    if (this.#values["dry-run"]) return { status: "planned", job, request, path: job.name };
    const loading = performance.now();
    const isLoaded = this.#loaded !== undefined;
    if (!isLoaded) progress.stage("load");
    let loaded: Loaded;
    try {
      loaded = this.#loaded ??= await this.#load(request);
    } catch (error) {
      // Another picture may be smaller.
      if (isMemoryError(error as Error)) return this.#fail(job, error as Error);
      throw error;
    }
    const load = isLoaded ? 0 : performance.now() - loading;
    try {
      return await this.#make(job, request, { loaded, load, progress });
    } catch (error) {
      // A GPU that failed may be lost: the next picture opens it anew.
      if (!(error instanceof OutputError || error instanceof UsageError)) await this.#unload();
      return this.#fail(job, error as Error);
    }
  }

  #skip(job: Job, path: string): Outcome {
    const { index, line, name } = job;
    try {
      if (this.#values.grid !== undefined) this.#sheet.push(decodePng(readBytes(path, LIMITS.pngBytes)));
      return { status: "skipped", index, line, path: name };
    } catch (cause) {
      const reason = (cause as Error).message;
      return this.#fail(job, new UsageError(`${name} cannot go on the contact sheet: ${reason}`, { cause }));
    }
  }

  #fail({ index, line }: Job, error: Error): Failure {
    if (isMemoryError(error)) this.#tell(LESS_MEMORY);
    if (!this.#values["continue-on-error"]) throw error;
    return { index, line, status: "error", error };
  }

  async #load(first: CompleteRequest): Promise<Loaded> {
    const { Gpu, Pipeline } = this.#module;
    const { precision, kernels, memory } = this.#values;
    const selection = selectionOf(this.#values, this.#environment);
    // Pictures say what they were made with: a file that is gone must not be found missing when one is ready.
    for (const files of givenTo(this.model)) files.hashes();
    await using stack = new AsyncDisposableStack();
    const gpu = stack.use(await Gpu.open(await deviceOptions(this.#webgpu, this.#environment)));
    const pipeline = stack.use(
      await Pipeline.load(gpu, this.model, {
        precision,
        kernels,
        selection,
        memory,
        first,
        previewVae: this.#previewVae,
      }),
    );
    return { adapter: gpu.adapter, pipeline, resources: stack.move() };
  }

  async #unload(): Promise<void> {
    await this.#loaded?.resources.disposeAsync();
    this.#loaded = undefined;
  }

  async #make(
    job: Job,
    request: CompleteRequest,
    { loaded, load, progress }: { loaded: Loaded; load: number; progress: Progress },
  ): Promise<Made> {
    const { adapter, pipeline } = loaded;
    const { preview, "preview-every": every, show, grid } = this.#values;
    progress.stage("text");
    const { width, height } = sizesOf(request).drawn;
    let drawn: Extract<GenerateEvent, { type: "image" }> | undefined;
    for await (const event of pipeline.generate(request, { previews: preview === undefined ? 0 : every })) {
      if (event.type === "step") {
        progress.step(event);
        if (event.preview) this.#writePreview(preview!, resize(event.preview, width, height), progress);
      } else if (event.type === "notice") {
        progress.breakLine();
        this.#say(event.message);
      } else {
        drawn = event;
      }
    }
    const { image, peakBytes, timings: stages } = drawn!;
    progress.finish(stages);
    const { values, options } = job.spec;
    const texts = values["no-metadata"] ? [] : writeMetadata({ request, options, model: this.model, adapter });
    const png = encodePng(image, texts);
    const path = writePicture(job, png, { values: this.#values, folder: this.#environment.folder });
    if (show && this.#inline !== undefined) {
      this.#environment.notices.write(this.#inline(png));
      this.#environment.notices.write(block("\n"));
    }
    if (grid !== undefined) this.#sheet.push(image);
    const now = performance.now();
    const timings = { load, ...stages, total: now - this.#since };
    this.#since = now;
    return { status: "ok", job, request, path, png, timings, adapter, peakBytes };
  }

  #writeSheet(): void {
    const values = this.#values;
    const { grid } = values;
    if (grid === undefined || this.#sheet.length === 0) return;
    writeNamed(grid, encodePng(composeSheet(this.#sheet)), { values, folder: this.#environment.folder });
    this.#say(`Contact sheet of ${showCount(this.#sheet.length, "picture")}: ${grid}`);
  }

  /** A preview that cannot be written is no reason to lose the picture. */
  #writePreview(path: string, image: Image, progress: Progress): void {
    try {
      writeWhole(resolve(this.#environment.folder, path), encodePng(image));
    } catch (error) {
      if (!(error instanceof OutputError)) throw error;
      progress.breakLine();
      if (!this.#previewFailed) this.#say(`There is no new preview: ${error.message}`);
      this.#previewFailed = true;
    }
  }

  /** Tells what pictures of one prompt would tell again and again. */
  #tell(notice: string): void {
    if (this.#told.has(notice)) return;
    this.#say(notice);
    if (this.#told.size >= AHEAD) this.#told.clear();
    this.#told.add(notice);
  }

  #say(text: string): void {
    say(this.#environment, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#unload();
    this.#previewVae?.[Symbol.dispose]();
    this.model[Symbol.dispose]();
  }
}

/** What helps where GPU memory does not suffice. */
const LESS_MEMORY = "Less GPU memory is taken with --memory, by smaller pictures, and with --precision f16 and " +
  "--vae-tiling on";

function isMemoryError({ name }: Error): boolean {
  return name === "GpuMemoryError";
}

/** What to expect of a model that nobody asked for. */
function introduce({ name, defaults }: Model): string {
  return ["No model was named, so the embedded one draws", name, defaults.knows ?? []].flat().join(": ");
}
