/**
 * Exit codes, which scripts depend on, and the errors of the command line itself.
 * @module
 */

/** The command was called wrongly. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  /** Whether the short help follows the message. */
  readonly showHelp: boolean;

  constructor(message: string, options: ErrorOptions & { showHelp?: boolean } = {}) {
    super(message, options);
    this.showHelp = options.showHelp ?? false;
  }
}

/** The output cannot be written where it was asked for. */
export class OutputError extends Error {
  override readonly name = "OutputError";
}

interface ExitCode {
  readonly code: number;
  readonly meaning: string;
  /** The name of the error that leads to it; a name, since the classes load late. */
  readonly error?: string;
}

export const exitCodes: readonly ExitCode[] = [
  { code: 0, meaning: "done" },
  { code: 1, meaning: "unexpected error" },
  { code: 2, meaning: "wrong usage", error: "UsageError" },
  { code: 3, meaning: "no usable GPU", error: "NoGpuError" },
  { code: 4, meaning: "model not available", error: "ModelNotFoundError" },
  { code: 5, meaning: "model file damaged or unsupported", error: "ModelFileError" },
  { code: 6, meaning: "out of GPU memory", error: "GpuMemoryError" },
  { code: 7, meaning: "GPU failed", error: "GpuFailedError" },
  { code: 8, meaning: "cannot write the output", error: "OutputError" },
  { code: 130, meaning: "interrupted" },
  { code: 143, meaning: "terminated" },
];

/** The exit code of an error; 1 when nobody expected it. */
export function exitCodeOf(error: Pick<Error, "name">): number {
  return exitCodes.find((entry) => entry.error === error.name)?.code ?? 1;
}
