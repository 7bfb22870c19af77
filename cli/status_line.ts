/**
 * A line of standard error that is written over, without escape codes.
 * @module
 */
import type { Environment } from "./environment.ts";

/** The last line of a terminal. */
export class StatusLine {
  /** Whether there is one; elsewhere what is shown would pile up. */
  readonly isLive: boolean;
  readonly #stderr: Environment["stderr"];
  #shown = "";

  /** The line below what stands on standard error. */
  constructor({ stderr, variable }: Environment) {
    this.#stderr = stderr;
    this.isLive = stderr.isTerminal() && variable("TERM") !== "dumb";
  }

  /** Puts `text` in the place of what the line shows. */
  show(text: string): void {
    if (!this.isLive || text === this.#shown) return;
    this.#stderr.write(`\r${text.padEnd(this.#shown.length)}`);
    this.#shown = text;
  }

  /** Leaves the line as it is, so that others can follow. */
  breakLine(): void {
    if (this.#shown !== "") this.#stderr.write("\n");
    this.#shown = "";
  }
}
