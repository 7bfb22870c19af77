/**
 * The ways in which a model cannot be used or kept; each has an exit code of its own.
 * @module
 */

/** A model file is damaged, or of a kind that is not supported (exit code 5). */
export class ModelFileError extends Error {
  /** The class's name. */
  override readonly name = "ModelFileError";
  /** The file at fault. */
  readonly file: string;

  /** Says `problem`, with its numbers, of `file`. */
  constructor(file: string, problem: string, options?: ErrorOptions) {
    super(`${file}: ${problem}`, options);
    this.file = file;
  }
}

/** A model, or a part of it, is not there (exit code 4). */
export class ModelNotFoundError extends Error {
  /** The class's name. */
  override readonly name = "ModelNotFoundError";
}

/** A model cannot be written to the cache (exit code 8). */
export class CacheError extends Error {
  override readonly name = "CacheError";

  /** Says why `path` cannot be written: what the system says in `cause`. */
  constructor(path: string, cause: unknown) {
    super(`Cannot write ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
