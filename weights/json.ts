/**
 * JSON from strangers: telling objects apart, and showing what was there instead.
 * @module
 */

/** A JSON object of which nothing else is known. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a JSON value is an object: neither null nor a list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A user's own text in quotes, shortened to its beginning. */
export function quoted(text: string): string {
  const rest = text.length - 80;
  return rest <= 0 ? JSON.stringify(text) : `${JSON.stringify(text.slice(0, -rest))} and ${rest} characters more`;
}

/** Texts that errors repeat: one word of the characters that names of tensors, files, classes and tokens have. */
const WORD = /^[\w.:+<|>/-]{0,128}$/;

/**
 * A JSON value, or the absence of one, in a few words for an error, however long or deep it is. Numbers and single words
 * are repeated and nothing else is: a text may be any file's content, and not fit for a terminal.
 */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isObject(value)) return "an object";
  if (typeof value !== "string") return value === undefined ? "nothing" : String(value);
  return WORD.test(value) ? `"${value}"` : `a text of ${value.length} characters`;
}
