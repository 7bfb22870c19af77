/**
 * The file system as the readers of models need it: every failure names the file and has an exit code.
 * @module
 */
import { ModelFileError, ModelNotFoundError } from "./errors.ts";
import { isObject, type JsonObject, shown } from "./json.ts";

export function isFile(path: string): boolean {
  return kindOf(path) === "file";
}

/** What lies at `path`, links followed. */
export function kindOf(path: string): "file" | "folder" | "other" | "nothing" {
  try {
    const { isFile, isDirectory } = Deno.statSync(path);
    return isFile ? "file" : isDirectory ? "folder" : "other";
  } catch (error) {
    const { NotFound, NotADirectory } = Deno.errors;
    if (error instanceof NotFound || error instanceof NotADirectory) return "nothing";
    throw error;
  }
}

/**
 * Opens a file for reading.
 * @throws {ModelNotFoundError} there is no file, or this user may not read it
 */
export function openFile(path: string): Deno.FsFile {
  return reading(path, Deno.openSync);
}

/**
 * The text of a UTF-8 file.
 * @throws {ModelNotFoundError} there is no file, or this user may not read it
 * @throws {ModelFileError} the file is not UTF-8
 */
export function readText(path: string): string {
  const bytes = reading(path, Deno.readFileSync);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ModelFileError(path, "the text is not UTF-8", { cause });
  }
}

function reading<T>(path: string, read: (path: string) => T): T {
  // Asked first: opening a pipe would wait for its writer.
  if (!isFile(path)) throw new ModelNotFoundError(`There is no file ${path}`);
  try {
    return read(path);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.PermissionDenied)) throw cause;
    throw new ModelNotFoundError(`This user may not read the file ${path}`, { cause });
  }
}

/**
 * The JSON object in a file, with Python's `Infinity` and `NaN` allowed: diffusers writes
 * `"lambda_min_clipped": -Infinity`.
 * @throws {ModelNotFoundError} there is no file, or this user may not read it
 * @throws {ModelFileError} the file does not hold a JSON object
 */
export function readJson(path: string): JsonObject {
  const text = readText(path);
  let value: unknown;
  try {
    value = JSON.parse(withoutPythonNumbers(text));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ModelFileError(path, `the file is not JSON (${reason})`, { cause });
  }
  if (isObject(value)) return value;
  throw new ModelFileError(path, `the file is ${shown(value)}, not an object`);
}

/** JSON text for Python's: numbers that overflow to infinity, null for NaN, and strings as they are. */
function withoutPythonNumbers(text: string): string {
  return text.replace(
    /"(?:[^"\\]|\\.)*"|\b(?:Infinity|NaN)\b/g,
    (token) => token === "Infinity" ? "1e999" : token === "NaN" ? "null" : token,
  );
}
