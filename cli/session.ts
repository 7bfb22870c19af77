/**
 * An opened model that draws one picture after the other, writes each and reports it. GPU and weights are loaded for the
 * first one and kept.
 * @module
 */
import { join, resolve } from "@std/path";
import type { AdapterInfo, CompleteRequest, Model } from "../pipeline/mod.ts";
import { LIMITS } from "../pipeline/limits.ts";
import type { GenerateEvent, Image } from "../pipeline/request.ts";
import { resize } from "../pipeline/resize.ts";
import { checkSheet, composeSheet } from "./contact_sheet.ts";
import { type Environment, type LoadedPipeline, type PipelineModule, say } from "./environment.ts";
import { exitCodeOf, OutputError, UsageError } from "./errors.ts";
import { exists, readBytes, writeWhole } from "./files.ts";
import { ImageFiles } from "./init_image.ts";
import { findInlineEncoder, type InlineEncoder } from "./inline_picture.ts";
import { type Failure, freeName, isFailure, type Job, refuse } from "./jobs.ts";
import { selectionOf } from "./kernel_timings.ts";
import { writeMetadata } from "./metadata.ts";
import type { OptionValues } from "./options.ts";
import { decodePng, encodePng } from "./png.ts";
import { createProgress, type Progress } from "./progress.ts";
import { type Made, type Outcome, reportOutcome } from "./report.ts";
import { completeRequest, createRequest, type Spec } from "./request.ts";
import { block } from "./terminal.ts";

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
  /** When it began, as `performance.now()` counts. */
  readonly start: number;
}

/** Disposing of it closes the model's files and the GPU. */
export class Session implements AsyncDisposable {
  readonly model: Model;
  readonly #module: PipelineModule;
  readonly #values: OptionValues;
  readonly #environment: Environment;
  readonly #initImages: ImageFiles;
  readonly #completed = new Map<Spec, Promise<CompleteRequest>>();
  /** Notices that were given: pictures of one prompt have the same. */
  readonly #told = new Set<string>();
  /** The pictures of the contact sheet. */
  readonly #sheet: Image[] = [];
  /** How the terminal shows pictures, if it does. */
  readonly #inline: InlineEncoder | undefined;
  #loaded: Loaded | undefined;
  /** When the picture before was ready. */
  #since: number;

  private constructor(module: PipelineModule, { values, environment, start }: Run) {
    const { model: name = "emoji", tokenizer } = values;
    this.model = module.openModel(name, { tokenizer, variable: environment.variable });
    this.#module = module;
    this.#values = values;
    this.#environment = environment;
    this.#initImages = new ImageFiles(environment.folder);
    this.#inline = findInlineEncoder(environment);
    this.#since = start;
    if (values.model === undefined) this.#say(introduce(this.model));
  }

  /**
   * Opens the model; the GPU stays closed until the first picture.
   *
   * @throws {ModelNotFoundError | ModelFileError} when the model is absent or damaged.
   */
  static async open(run: Run): Promise<Session> {
    return new Session(await run.environment.loadPipeline(), run);
  }

  /**
   * The complete request of a picture; those of one `--count` share all but the seed.
   *
   * @throws {UsageError | ModelFileError} when an init image cannot be read, or the model cannot do what is asked for.
   */
  async complete({ spec, seed }: Job): Promise<CompleteRequest> {
    const model = this.model;
    const create = () => createRequest(spec, { seed, model, images: this.#initImages });
    const completed = this.#completed.get(spec) ??
      Promise.try(() => completeRequest(create(), { model, module: this.#module }));
    this.#completed.set(spec, completed);
    return { ...await completed, seed };
  }

  /** Name of the GPU; undefined while none is open. */
  get adapter(): string | undefined {
    return this.#loaded?.adapter.description;
  }

  /**
   * Draws `jobs` in their order. What can be refused without the GPU is refused before it is opened. The first failure
   * ends the run, unless `--continue-on-error` is given; what keeps GPU or model from loading always does.
   *
   * @returns the exit code: 0, or, after failures that were reported, the code they share, or 1.
   */
  async draw(jobs: readonly (Job | Failure)[]): Promise<number> {
    const { show, progress: mode, json: asJson } = this.#values;
    const checked = await this.#check(jobs);
    if (show && this.#inline === undefined) this.#say("--show: this terminal has no known way to show pictures");
    const codes = new Set<number>();
    for (const [position, job] of checked.entries()) {
      const [picture, pictures] = [position + 1, checked.length];
      const subject = isFailure(job) ? "" : `, seed ${job.seed}: ${JSON.stringify(job.spec.prompt)}`;
      if (pictures > 1) this.#say(`Picture ${picture} of ${pictures}${subject}`);
      const progress = createProgress(this.#environment, { mode, picture, pictures });
      const outcome = await this.#attend(job, progress).finally(() => progress.breakLine());
      await reportOutcome(outcome, { model: this.model, environment: this.#environment, asJson });
      if (outcome.status === "error") codes.add(exitCodeOf(outcome.error));
    }
    this.#writeSheet();
    return codes.size === 1 ? [...codes][0]! : Math.min(codes.size, 1);
  }

  async #check(jobs: readonly (Job | Failure)[]): Promise<readonly (Job | Failure)[]> {
    const sizes: Pick<Image, "width" | "height">[] = [];
    const checked = await refuse(jobs, this.#values, async (job) => {
      const { width, height } = await this.complete(job);
      sizes.push({ width, height });
    });
    if (this.#values.grid !== undefined) checkSheet(sizes);
    return checked;
  }

  async #attend(job: Job | Failure, progress: Progress): Promise<Outcome> {
    if (isFailure(job)) return job;
    const path = resolve(this.#environment.folder, job.name);
    if (this.#values["skip-existing"] && exists(path)) return this.#skip(job, path);
    const request = await this.complete(job);
    for (const notice of request.notices) {
      if (!this.#told.has(notice)) this.#say(notice);
      this.#told.add(notice);
    }
    const loading = performance.now();
    const isLoaded = this.#loaded !== undefined;
    if (!isLoaded) progress.stage("load");
    const loaded = this.#loaded ??= await this.#load();
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
    if (!this.#values["continue-on-error"]) throw error;
    return { index, line, status: "error", error };
  }

  async #load(): Promise<Loaded> {
    const { Gpu, Pipeline } = this.#module;
    const { precision, kernels } = this.#values;
    const selection = selectionOf(this.#values, this.#environment);
    await using stack = new AsyncDisposableStack();
    const gpu = stack.use(await Gpu.open());
    const pipeline = stack.use(await Pipeline.load(gpu, this.model, { precision, kernels, selection }));
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
    let drawn: Extract<GenerateEvent, { type: "image" }> | undefined;
    for await (const event of pipeline.generate(request, { previews: preview === undefined ? 0 : every })) {
      if (event.type === "step") {
        progress.step(event);
        if (event.preview) this.#writeImage(preview!, resize(event.preview, request.width, request.height));
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
    const path = this.#write(job, png);
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

  /** Writes a picture and tells under which name; standard output is left to the report. */
  #write({ name, replaces }: Job, png: Uint8Array): string {
    if (name === "-") return name;
    const { folder } = this.#environment;
    const path = replaces ? name : freeName(name.replace(/\.png$/, ""), (candidate) => exists(join(folder, candidate)));
    writeWhole(resolve(folder, path), png);
    return path;
  }

  #writeSheet(): void {
    const { grid } = this.#values;
    if (grid === undefined || this.#sheet.length === 0) return;
    this.#writeImage(grid, composeSheet(this.#sheet));
    this.#say(`Contact sheet of ${this.#sheet.length} pictures: ${grid}`);
  }

  #writeImage(path: string, image: Image): void {
    writeWhole(resolve(this.#environment.folder, path), encodePng(image));
  }

  #say(text: string): void {
    say(this.#environment, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#unload();
    this.model[Symbol.dispose]();
  }
}

/** What to expect of a model that nobody asked for. */
function introduce({ name, defaults }: Model): string {
  return ["No model was named, so the embedded one draws", name, defaults.knows ?? []].flat().join(": ");
}
