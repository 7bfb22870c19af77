/**
 * What standard output says of a picture.
 * @module
 */
import type { AdapterInfo, Model } from "../pipeline/mod.ts";
import type { Request, Timings } from "../pipeline/request.ts";
import type { Environment } from "./environment.ts";
import { exitCodeOf } from "./exit_codes.ts";
import { describeInit } from "./init_image.ts";
import type { Job, Place } from "./picture_job.ts";

/** A picture that was made. */
export interface Made {
  readonly type: "made";
  /** What was asked for. */
  readonly job: Job;
  /** What it was drawn from. */
  readonly request: Request;
  /** The file it is in; `-` is standard output. */
  readonly path: string;
  /** The file's bytes. */
  readonly png: Uint8Array<ArrayBuffer>;
  /** Milliseconds: loading, the stages, and all since the picture before. */
  readonly timings: Timings & { readonly load: number; readonly total: number };
  /** The GPU. */
  readonly adapter: AdapterInfo;
  /** The most GPU memory that was held at once, in bytes. */
  readonly peakBytes: number;
}

/** What became of a picture: made, left out because its file was there, or failed. */
export type Outcome =
  | Made
  | { readonly type: "skipped"; readonly place: Place; readonly path: string }
  | { readonly type: "failed"; readonly place: Place; readonly error: Error };

/** How a picture is reported. */
export interface ReportOptions {
  /** Where it is written. */
  readonly environment: Environment;
  /** Whether each picture gets a line of JSON. */
  readonly json: boolean;
}

/**
 * Writes a line for a picture: its path, or JSON; a failure is JSON always. The path `-` stands for the picture's
 * bytes.
 */
export async function reportOutcome(outcome: Outcome, model: Model, options: ReportOptions): Promise<void> {
  const { environment: { stdout, stderr }, json } = options;
  if (outcome.type === "failed") {
    const { place, error } = outcome;
    const { name, message } = error;
    stderr.write(`denoise: ${message}\n`);
    return write({ status: "error", ...placeOf(place), error: { code: exitCodeOf(error), name, message } });
  }
  if (outcome.type === "skipped") {
    if (json) return write({ status: "skipped", ...placeOf(outcome.place), path: outcome.path });
    return stderr.write(`${outcome.path} is there already\n`);
  }
  if (json) return write(await describeMade(outcome, model));
  stdout.write(outcome.path === "-" ? outcome.png : `${outcome.path}\n`);

  function write(document: object): void {
    stdout.write(`${JSON.stringify({ schema: 1, ...document })}\n`);
  }
}

async function describeMade({ job, request, path, png, timings, adapter, peakBytes }: Made, model: Model) {
  return {
    status: "ok",
    ...placeOf(job),
    path,
    sha256: new Uint8Array(await crypto.subtle.digest("SHA-256", png)).toHex(),
    model: model.name,
    ...request,
    ...(request.init && { init: describeInit(request.init) }),
    scheduler: request.scheduler ?? model.config.scheduler._class_name,
    // A string: most readers of JSON round numbers above 2^53.
    seed: `${request.seed}`,
    precision: job.values.precision,
    kernels: job.values.kernels,
    adapter,
    timings,
    peakBytes,
  };
}

function placeOf({ index, line }: Place): Place {
  return line === undefined ? { index } : { index, line };
}
