/**
 * How far a picture is, on standard error.
 * @module
 */
import type { Timings } from "../pipeline/request.ts";
import { type Environment, say } from "./environment.ts";
import { block, json, redrawn } from "./terminal.ts";

/** The last line of a terminal, written over without escape codes. */
export class StatusLine {
  /** Whether there is one; elsewhere what is shown would pile up. */
  readonly isLive: boolean;
  readonly #notices: Environment["notices"];
  #shown = "";

  constructor({ notices, variable }: Environment) {
    this.#notices = notices;
    this.isLive = notices.isTerminal() && variable("TERM") !== "dumb";
  }

  /** Puts `text` in the place of what the line shows. */
  show(text: string): void {
    if (!this.isLive || text === this.#shown) return;
    this.#notices.write(redrawn(text, this.#shown.length));
    this.#shown = text;
  }

  /** Leaves the line as it is, so that others can follow. */
  breakLine(): void {
    if (this.#shown !== "") this.#notices.write(block("\n"));
    this.#shown = "";
  }
}

/** A step that was done, of how many, and the milliseconds it took. */
interface Step {
  readonly step: number;
  readonly steps: number;
  readonly milliseconds: number;
}

/** The stages other than steps, in words for people. */
const stages = { load: "Loading the model", text: "Reading the prompt", decode: "Decoding the picture" } as const;

/** Listens to a picture being made. */
export interface Progress {
  stage(stage: keyof typeof stages): void;
  /** A step was done; after the last one the picture is decoded. */
  step(step: Step): void;
  finish(timings: Timings): void;
  /** Ends a line that is redrawn, so that another can follow. */
  breakLine(): void;
}

interface ProgressOptions {
  readonly mode: "auto" | "json" | "none";
  /** Which picture of how many, from 1. */
  readonly picture: number;
  readonly pictures: number;
}

/**
 * Mode `auto` redraws a line on a terminal and writes a line per tenth of the steps elsewhere, `json` writes a line of
 * JSON for each stage and step, `none` nothing.
 */
export function createProgress(environment: Environment, options: ProgressOptions): Progress {
  if (options.mode === "none") return { stage: () => {}, step: () => {}, ...NO_LINE };
  const teller = options.mode === "json" ? tellPrograms(environment, options) : tellPeople(environment);
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

const NO_LINE = { finish: () => {}, breakLine: () => {} };

/** A step, milliseconds of all steps so far, and of those that are left, if they take as long. */
interface Told extends Step {
  readonly passed: number;
  readonly left: number;
}

interface Teller extends Omit<Progress, "step"> {
  step(step: Told): void;
}

function tellPrograms({ notices }: Environment, { picture, pictures }: ProgressOptions): Teller {
  const write = (fields: object) => {
    notices.write(json({ schema: 1, type: "progress", picture, pictures, ...fields }));
  };
  return { stage: (stage) => write({ stage }), step: (told) => write({ stage: "denoise", ...told }), ...NO_LINE };
}

function tellPeople(environment: Environment): Teller {
  const line = new StatusLine(environment);
  const tell = (text: string) => line.isLive ? line.show(text) : say(environment, text);
  let rate = "";
  return {
    breakLine: () => line.breakLine(),
    stage(stage) {
      if (line.isLive || stage !== "text") tell(stages[stage]);
    },
    step({ step, steps, passed, left }) {
      rate = describeRate(step, passed);
      if (!line.isLive && tenth(step, steps) === tenth(step - 1, steps)) return;
      tell(`Step ${step} of ${steps}, ${rate}, ${seconds(passed)} s passed, ${seconds(left)} s left`);
    },
    finish({ text, encode = 0, denoise, decode }) {
      tell(`Drawn in ${seconds(text + encode + denoise + decode)} s, ${rate}`);
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
