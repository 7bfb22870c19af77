/**
 * What the command line itself refuses, as far as it maps to an exit code.
 * @module
 */

/** The command was called wrongly (exit code 2). */
export class UsageError extends Error {
  /** The class's name, which survives minification. */
  override readonly name = "UsageError";
  /** Whether the short help belongs below the message. */
  readonly showHelp: boolean;

  /** Says what is wrong. */
  constructor(message: string, options: ErrorOptions & { showHelp?: boolean } = {}) {
    super(message, options);
    this.showHelp = options.showHelp ?? false;
  }
}

/** The picture cannot be written where it was asked for (exit code 8). */
export class OutputError extends Error {
  /** The class's name, which survives minification. */
  override readonly name = "OutputError";
}
