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

/** A package of npm that the program is made of was never downloaded. */
export class PackageNotFoundError extends Error {
  override readonly name = "PackageNotFoundError";
}

interface ExitCode {
  readonly code: number;
  readonly meaning: string;
  /** The names of the errors that lead to it; names, since the classes load late. */
  readonly errors?: readonly string[];
}

export const exitCodes: readonly ExitCode[] = [
  { code: 0, meaning: "done" },
  { code: 1, meaning: "unexpected error" },
  { code: 2, meaning: "wrong usage", errors: ["UsageError"] },
  { code: 3, meaning: "no usable GPU", errors: ["NoGpuError"] },
  { code: 4, meaning: "model not available", errors: ["ModelNotFoundError", "PackageNotFoundError"] },
  { code: 5, meaning: "model file damaged or unsupported", errors: ["ModelFileError"] },
  { code: 6, meaning: "out of GPU memory", errors: ["GpuMemoryError"] },
  { code: 7, meaning: "GPU failed", errors: ["GpuFailedError"] },
  { code: 8, meaning: "cannot write the output", errors: ["OutputError"] },
  { code: 130, meaning: "interrupted" },
  { code: 143, meaning: "terminated" },
];

/** The exit code of an error; 1 when nobody expected it. */
export function exitCodeOf(error: Pick<Error, "name">): number {
  return exitCodes.find(({ errors }) => errors?.includes(error.name))?.code ?? 1;
}
