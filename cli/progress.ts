/**
 * How far the work is, on standard error.
 * @module
 */
import type { Environment } from "./environment.ts";

/** A step that was done. */
export interface Step {
  /** Steps done. */
  readonly step: number;
  /** Steps in all. */
  readonly steps: number;
  /** Time the step took. */
  readonly milliseconds: number;
}

/**
 * Shows each step on one line of a terminal, redrawn in place without escape codes; anywhere else, a line per tenth
 * of the work.
 */
export function createProgress({ stderr, variable }: Environment): (step: Step) => void {
  const redraws = stderr.isTerminal() && variable("TERM") !== "dumb";
  let passed = 0;
  return ({ step, steps, milliseconds }) => {
    passed += milliseconds;
    const left = (passed / step) * (steps - step);
    const line = `Step ${step} of ${steps}, ${seconds(passed)} s passed, ${seconds(left)} s left`;
    if (redraws) {
      stderr.write(`\r${line.padEnd(60)}${step === steps ? "\n" : ""}`);
    } else if (tenth(step, steps) > tenth(step - 1, steps)) {
      stderr.write(`${line}\n`);
    }
  };
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(1);
}

/** The tenths of the work that are complete. */
function tenth(step: number, steps: number): number {
  return Math.floor(10 * step / steps);
}
