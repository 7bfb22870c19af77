/**
 * The files of a tokenizer, as they are; what they mean is the tokenizer's concern.
 * @module
 */
import { ModelNotFoundError } from "./errors.ts";
import { inside, kindOf, readJson, readText } from "./files.ts";
import type { JsonObject } from "./json.ts";
import { LIMITS } from "./limits.ts";

/** Names of the files that a tokenizer's folder may have. */
export const TOKENIZER_FILES = [
  "tokenizer_config.json",
  "special_tokens_map.json",
  "tokenizer.json",
  "vocab.json",
  "merges.txt",
] as const;

/** The contents of a model's `tokenizer` folder: `json`, or `vocab` and `merges`, or all three. */
export interface TokenizerFiles {
  readonly json?: string;
  readonly vocab?: string;
  readonly merges?: string;
  /** `tokenizer_config.json`, empty when absent. */
  readonly config: JsonObject;
  /** `special_tokens_map.json`, empty when absent. */
  readonly specialTokens: JsonObject;
}

/**
 * Reads a tokenizer folder.
 * @throws {ModelNotFoundError} it has neither `tokenizer.json` nor `vocab.json` with `merges.txt`
 * @throws {ModelFileError} a file is too long, not UTF-8 or a link out of the folder, or a configuration is not JSON
 */
export function readTokenizer(folder: string): TokenizerFiles {
  const read = (path: string) => readText(path, LIMITS.tokenizerBytes);
  const json = optional(folder, "tokenizer.json", read);
  const vocab = optional(folder, "vocab.json", read);
  const merges = optional(folder, "merges.txt", read);
  if (json === undefined && (vocab === undefined || merges === undefined)) {
    throw new ModelNotFoundError(
      `There is no tokenizer in ${folder}: it needs tokenizer.json, ` +
        "or vocab.json and merges.txt",
    );
  }
  return {
    ...(json === undefined ? {} : { json }),
    ...(vocab === undefined ? {} : { vocab }),
    ...(merges === undefined ? {} : { merges }),
    config: optional(folder, "tokenizer_config.json", readJson) ?? {},
    specialTokens: optional(folder, "special_tokens_map.json", readJson) ?? {},
  };
}

/** The same files for OpenCLIP, which has CLIP's vocabulary and fills up with token 0, "!". */
export function forOpenClip(files: TokenizerFiles): TokenizerFiles {
  return { ...files, specialTokens: { ...files.specialTokens, pad_token: "!" } };
}

function optional<T>(folder: string, name: string, read: (path: string) => T): T | undefined {
  const path = inside(folder, name);
  return kindOf(path) === "nothing" ? undefined : read(path);
}
