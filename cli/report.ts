/**
 * What standard output says of a picture.
 * @module
 */
import type { AdapterInfo, CompleteRequest, Model } from "../pipeline/mod.ts";
import type { InitImage, Timings } from "../pipeline/request.ts";
import { type Environment, say } from "./environment.ts";
import { exitCodeOf } from "./errors.ts";
import type { Failure, Job, Place } from "./jobs.ts";
import { embeddingsOf } from "./embeddings.ts";
import { describeHires, describeUpscaler } from "./hires.ts";
import { lorasOf } from "./loras.ts";
import { json, line, name } from "./terminal.ts";

/** A picture that would be made. */
interface Planned {
  readonly status: "planned";
  readonly job: Job;
  readonly request: CompleteRequest;
  /** The file it is in; `-` is standard output. */
  readonly path: string;
}

/** A picture that was made. */
export interface Made extends Omit<Planned, "status"> {
  readonly status: "ok";
  readonly png: Uint8Array<ArrayBuffer>;
  /** Milliseconds: loading, the stages, and all since the picture before. */
  readonly timings: Timings & { readonly load: number; readonly total: number };
  readonly adapter: AdapterInfo;
  /** The most GPU memory that was held at once, in bytes. */
  readonly peakBytes: number;
}

/** A picture that was left out because its file was there. */
interface Skipped extends Place {
  readonly status: "skipped";
  readonly path: string;
}

/** What became of a picture. */
export type Outcome = Planned | Made | Skipped | Failure;

/**
 * Writes a line for a picture: its path, or JSON; failures are always JSON. The path `-` stands for the picture's bytes.
 */
export async function reportOutcome(
  outcome: Outcome,
  { model, environment, asJson }: {
    readonly model: Model;
    readonly environment: Environment;
    readonly asJson: boolean;
  },
): Promise<void> {
  const { stdout, stderr } = environment;
  const write = (document: object) => stdout.write(json({ schema: 1, ...document }));
  if (outcome.status === "error") {
    const { status, index, line: number, error } = outcome;
    const { message } = error;
    stderr.write(line(`denoise: ${message}`));
    write({ status, index, line: number, error: { code: exitCodeOf(error), name: error.name, message } });
  } else if (outcome.status === "skipped") {
    if (asJson) write(outcome);
    else say(environment, `${outcome.path} is there already`);
  } else if (asJson) {
    write(await describePicture(outcome, model));
  } else {
    stdout.write(outcome.status === "ok" && outcome.path === "-" ? outcome.png : name(outcome.path, stdout));
  }
}

async function describePicture(outcome: Planned | Made, model: Model): Promise<object> {
  const { status, path, job: { index, line, spec }, request } = outcome;
  const { schedule: _schedule, prompts: _prompts, notices: _notices, second, ...asked } = request;
  const made = outcome.status === "ok" ? outcome : undefined;
  return {
    status,
    index,
    line,
    path,
    ...(made && { sha256: new Uint8Array(await crypto.subtle.digest("SHA-256", made.png)).toHex() }),
    model: model.name,
    ...asked,
    ...(request.init && { init: describeInit(request.init) }),
    ...(request.hires && second && { hires: describeHires(request.hires, second) }),
    ...(request.upscaler && { upscaler: describeUpscaler(request.upscaler) }),
    ...(request.loras && { loras: lorasOf(request) }),
    ...(request.embeddings && { embeddings: embeddingsOf(request) }),
    ...(request.controls &&
      { controls: request.controls.map((control) => ({ ...control, image: control.image.file })) }),
    scheduler: request.scheduler ?? model.config.scheduler._class_name,
    // A string: most readers of JSON round numbers above 2^53.
    seed: `${request.seed}`,
    precision: spec.values.precision,
    kernels: spec.values.kernels,
    ...(made && { adapter: made.adapter, timings: made.timings, peakBytes: made.peakBytes }),
  };
}

/** An init image's files, not their pixels. */
function describeInit({ image, mask, strength }: InitImage): object {
  return { image: image.file, ...(mask && { mask: mask.file }), strength };
}
