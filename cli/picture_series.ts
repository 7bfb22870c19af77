/**
 * Draws pictures one after the other, writes each and reports it.
 * @module
 */
import { join, resolve } from "@std/path";
import type { Image, Request } from "../pipeline/request.ts";
import { resize } from "../pipeline/resize.ts";
import { nearestName } from "../pipeline/schedulers/mod.ts";
import { checkSheet, composeSheet } from "./contact_sheet.ts";
import type { Environment } from "./environment.ts";
import { OutputError, UsageError } from "./errors.ts";
import { exitCodeOf } from "./exit_codes.ts";
import { refuse, throwFirst } from "./job_checks.ts";
import type { OptionValues } from "./options.ts";
import { findInlineEncoder, type InlineEncoder } from "./inline_picture.ts";
import { type Entry, isRefusal, type Job } from "./picture_job.ts";
import { writeMetadata } from "./picture_metadata.ts";
import { freeName } from "./picture_name.ts";
import { type Outcome, reportOutcome } from "./picture_report.ts";
import { decodePng, encodePng } from "./png.ts";
import { insertTexts } from "./png_text.ts";
import { createProgress, type Progress } from "./progress.ts";
import type { Drawn, Studio } from "./studio.ts";
import { exists, writeWhole } from "./whole_file.ts";

/** What a series runs with. */
export interface SeriesOptions {
  /** Options of the whole run. */
  readonly values: OptionValues;
  /** When the run began, as `performance.now()` counts. */
  readonly start: number;
}

/** Width and height in pixels. */
type Size = Pick<Image, "width" | "height">;

/** A run that makes several pictures with one model. */
export class Series {
  readonly #studio: Studio;
  readonly #environment: Environment;
  readonly #values: OptionValues;
  /** Warnings that were given: they say the same of each picture of a prompt. */
  readonly #told = new Set<string>();
  readonly #images: Image[] = [];
  /** How the terminal shows pictures, if it does. */
  readonly #inline: InlineEncoder | undefined;
  #since: number;

  /** Draws with the model of `studio`. */
  constructor(studio: Studio, environment: Environment, { values, start }: SeriesOptions) {
    this.#studio = studio;
    this.#environment = environment;
    this.#values = values;
    this.#since = start;
    this.#inline = findInlineEncoder(environment);
  }

  /**
   * Draws `entries` in their order. The first failure ends the run, unless `--continue-on-error` is given; what keeps
   * GPU or model from loading always does.
   *
   * @returns the exit code: 0, or, after failures that were reported, the code they share, or 1.
   */
  async draw(entries: readonly Entry[]): Promise<number> {
    const codes = new Set<number>();
    const checked = this.#check(entries);
    if (this.#values.show && this.#inline === undefined) {
      this.#say("--show: this is no terminal that is known to show pictures");
    }
    for (const [position, entry] of checked.entries()) {
      const subject = isRefusal(entry) ? "" : `, seed ${entry.seed}: ${JSON.stringify(entry.prompt)}`;
      if (checked.length > 1) this.#say(`Picture ${position + 1} of ${checked.length}${subject}`);
      const outcome = await this.#watch(entry, { picture: position + 1, pictures: checked.length });
      await reportOutcome(outcome, this.#studio.model, { environment: this.#environment, json: this.#values.json });
      if (outcome.type === "failed") codes.add(exitCodeOf(outcome.error));
    }
    this.#writeSheet();
    return codes.size === 1 ? [...codes][0]! : Math.min(codes.size, 1);
  }

  /** What can be refused without the GPU is refused before it is opened. */
  #check(entries: readonly Entry[]): readonly Entry[] {
    const sizes: Size[] = [];
    const known = new Map<OptionValues, Size>();
    const checked = refuse(entries, (job) => {
      // Pictures of one order have the same options and differ by their seeds only.
      const { width, height } = known.get(job.values) ?? this.#studio.request(job);
      known.set(job.values, { width, height });
      sizes.push({ width, height });
    });
    if (!this.#values["continue-on-error"]) throwFirst(checked);
    if (this.#values.grid !== undefined) checkSheet(sizes);
    return checked;
  }

  async #watch(entry: Entry, place: { readonly picture: number; readonly pictures: number }): Promise<Outcome> {
    const progress = createProgress(this.#environment, { mode: this.#values.progress, ...place });
    try {
      return await this.#reach(entry, progress);
    } finally {
      progress.breakLine();
    }
  }

  async #reach(entry: Entry, progress: Progress): Promise<Outcome> {
    if (isRefusal(entry)) return this.#fail(entry, entry.error);
    const path = resolve(this.#environment.folder, entry.name);
    if (this.#values["skip-existing"] && exists(path)) return this.#skip(entry, path);
    const request = this.#studio.request(entry);
    await this.#warn(request);
    if (this.#studio.adapter === undefined) progress.stage("load");
    const load = await this.#studio.load();
    try {
      return await this.#make(entry, request, { load, progress });
    } catch (error) {
      // A GPU that failed may be lost: the next picture opens it anew.
      if (!(error instanceof OutputError)) await this.#studio.unload();
      return this.#fail(entry, error as Error);
    }
  }

  #skip(job: Job, path: string): Outcome {
    try {
      if (this.#values.grid !== undefined) this.#images.push(decodePng(Deno.readFileSync(path)));
    } catch (cause) {
      const reason = (cause as Error).message;
      return this.#fail(job, new UsageError(`${job.name} cannot go on the contact sheet: ${reason}`, { cause }));
    }
    return { type: "skipped", place: job, path: job.name };
  }

  async #make(
    job: Job,
    request: Request,
    { load, progress }: { load: number; progress: Progress },
  ): Promise<Outcome> {
    const { preview, "preview-every": every } = this.#values;
    progress.stage("text");
    const drawn = await this.#studio.draw(request, {
      onStep: progress.step,
      previewEvery: preview === undefined ? 0 : every,
      onPreview: (image) => this.#writeImage(preview!, resize(image, request.width, request.height)),
      onNotice: (message) => {
        progress.breakLine();
        this.#say(message);
      },
    });
    progress.finish(drawn.timings);
    const png = this.#encode(job, request, drawn);
    const path = this.#write(job, png);
    if (this.#values.show && this.#inline !== undefined) this.#say(this.#inline(png));
    if (this.#values.grid !== undefined) this.#images.push(drawn.image);
    const now = performance.now();
    const timings = { load, ...drawn.timings, total: now - this.#since };
    this.#since = now;
    return { type: "made", job, request, path, png, timings, adapter: drawn.adapter, peakBytes: drawn.peakBytes };
  }

  #encode(job: Job, request: Request, { image, adapter }: Drawn): Uint8Array<ArrayBuffer> {
    const png = encodePng(image);
    if (job.values["no-metadata"]) return png;
    const { name: model, config } = this.#studio.model;
    const scheduler = request.scheduler ?? nearestName(config.scheduler);
    const making = { request, options: job.options, model, scheduler, adapter: adapter.description };
    return insertTexts(png, writeMetadata(making));
  }

  /** Says, once, what of a picture's prompts the model will not read. */
  async #warn(request: Request): Promise<void> {
    for (const line of await this.#studio.warnings(request)) {
      if (!this.#told.has(line)) this.#say(line);
      this.#told.add(line);
    }
  }

  #fail(place: Entry, error: Error): Outcome {
    if (!this.#values["continue-on-error"]) throw error;
    return { type: "failed", place, error };
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
    if (grid === undefined || this.#images.length === 0) return;
    this.#writeImage(grid, composeSheet(this.#images));
    this.#say(`Contact sheet of ${this.#images.length} pictures: ${grid}`);
  }

  #writeImage(path: string, image: Image): void {
    writeWhole(resolve(this.#environment.folder, path), encodePng(image));
  }

  #say(line: string): void {
    this.#environment.stderr.write(`${line}\n`);
  }
}
