/**
 * How far a picture is, on standard error.
 * @module
 */
import type { Timings } from "../pipeline/request.ts";
import type { Environment } from "./environment.ts";
import { StatusLine } from "./status_line.ts";

/** A step that was done. */
export interface Step {
  /** Steps done. */
  readonly step: number;
  /** Steps in all. */
  readonly steps: number;
  /** Time the step took. */
  readonly milliseconds: number;
}

/** What a picture waits for beside its steps, in words for people. */
const stages = { load: "Loading the model", text: "Reading the prompt", decode: "Decoding the picture" } as const;

/** What is told of a picture while it is made. */
export interface Progress {
  /** A stage begins. */
  stage(stage: keyof typeof stages): void;
  /** A step was done; after the last one the picture is decoded. */
  step(step: Step): void;
  /** The picture is there. */
  finish(timings: Timings): void;
  /** Ends a line that is redrawn, so that another can follow. */
  breakLine(): void;
}

/** How progress is told, and of what. */
export interface ProgressOptions {
  /**
   * `auto` redraws a line on a terminal and writes a line per tenth of the steps elsewhere, `json` writes a line of JSON
   * for each stage and step, `none` nothing.
   */
  readonly mode: "auto" | "json" | "none";
  /** Which picture of the run, from 1. */
  readonly picture: number;
  /** Pictures of the run. */
  readonly pictures: number;
}

/** Tells of a picture. */
export function createProgress(environment: Environment, options: ProgressOptions): Progress {
  const nothing: Progress = { stage: () => {}, step: () => {}, finish: () => {}, breakLine: () => {} };
  if (options.mode === "none") return nothing;
  const teller = options.mode === "json"
    ? { ...nothing, ...tellProgrammes(environment, options) }
    : tellPeople(environment);
  let passed = 0;
  return {
    ...teller,
    step({ step, steps, milliseconds }) {
      passed += milliseconds;
      teller.step({ step, steps, milliseconds, passed, left: (passed / step) * (steps - step) });
      if (step === steps) teller.stage("decode");
    },
  };
}

/** A step, milliseconds of all steps so far, and milliseconds of those that are left, if they take as long. */
interface Told extends Step {
  readonly passed: number;
  readonly left: number;
}

interface Teller extends Omit<Progress, "step"> {
  step(step: Told): void;
}

function tellProgrammes(
  { stderr }: Environment,
  { picture, pictures }: ProgressOptions,
): Pick<Teller, "stage" | "step"> {
  const write = (fields: object) => {
    stderr.write(`${JSON.stringify({ schema: 1, type: "progress", picture, pictures, ...fields })}\n`);
  };
  return { stage: (stage) => write({ stage }), step: (told) => write({ stage: "denoise", ...told }) };
}

function tellPeople(environment: Environment): Teller {
  const { stderr } = environment;
  const line = new StatusLine(environment);
  let rate = "";
  return {
    breakLine: () => line.breakLine(),
    stage(stage) {
      if (line.isLive) line.show(stages[stage]);
      else if (stage !== "text") stderr.write(`${stages[stage]}\n`);
    },
    step({ step, steps, passed, left }) {
      rate = describeRate(step, passed);
      const text = `Step ${step} of ${steps}, ${rate}, ${seconds(passed)} s passed, ${seconds(left)} s left`;
      if (line.isLive) line.show(text);
      else if (tenth(step, steps) > tenth(step - 1, steps)) stderr.write(`${text}\n`);
    },
    finish({ text, encode = 0, denoise, decode }) {
      const words = `Drawn in ${seconds(text + encode + denoise + decode)} s, ${rate}`;
      if (line.isLive) line.show(words);
      else stderr.write(`${words}\n`);
      line.breakLine();
    },
  };
}

/** Steps a second, or seconds a step where they are slow. */
function describeRate(steps: number, milliseconds: number): string {
  const rate = 1000 * steps / milliseconds;
  return rate >= 1 ? `${rate.toFixed(2)} it/s` : `${(1 / rate).toFixed(2)} s/it`;
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(1);
}

/** The tenths of the work that are complete. */
function tenth(step: number, steps: number): number {
  return Math.floor(10 * step / steps);
}
