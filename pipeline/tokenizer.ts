/**
 * Text to token ids, as CLIP reads it: byte-level BPE with `</w>` closing a
 * word (Radford et al. 2021, "Learning Transferable Visual Models").
 * @module
 */
import type { Tokenizer as NativeTokenizer } from "tokenizers";
import {
  isObject,
  type JsonObject,
  LIMITS,
  ModelFileError,
  parseJson,
  shown,
  type TokenizerFiles,
} from "../weights/mod.ts";

/** A token of a text. */
export interface Token {
  /** Its row in the text encoder's table, where it has no `vector`. */
  readonly id: number;
  /** What is read instead of a row: one of the vectors of a textual inversion. */
  readonly vector?: Float32Array;
  /**
   * What it stands for, with what lies between it and the next token: all tokens' texts are the whole text. Where a
   * character or a textual inversion is several tokens, the last of them has it.
   */
  readonly text: string;
}

/** The tokenizer of one model. */
export interface Tokenizer {
  /** Ids that the text encoder takes, begin and end included: 77 for Stable Diffusion. */
  readonly maxLength: number;
  /** Comes before a text. */
  readonly begin: number;
  /** Comes after a text. */
  readonly end: number;
  /** Fills what a text leaves free. */
  readonly padding: number;
  /** The comma's id, where the vocabulary has one. */
  readonly comma: number | undefined;
  /** Tokens of any Unicode text, as many as it has, without begin and end. */
  tokenize(text: string): Promise<readonly Token[]>;
}

/** A model may leave its length out, or write 1e30 for "no limit". */
const DEFAULT_LENGTH = 77;

/** Tokens with a meaning of their own, as the files call them and as messages do. */
const SPECIAL_TOKENS = { bos_token: "begin", eos_token: "end", pad_token: "padding" } as const;
type SpecialToken = keyof typeof SPECIAL_TOKENS;

/** CLIP's words: contractions, runs of letters, single digits, the rest. */
const WORDS = String
  .raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;

/**
 * Builds a model's tokenizer from the vocabulary and merges of `tokenizer.json`, or from `vocab.json` and `merges.txt`
 * where there are only these (Stable Diffusion 1.4). The rules are always CLIP's own: a file's could multiply texts, or
 * search them without end.
 *
 * @throws {ModelFileError} when files are missing or cannot be read, or are not those of CLIP.
 */
export async function loadTokenizer(files: TokenizerFiles): Promise<Tokenizer> {
  const Tokenizer = await loadNative();
  const maxLength = readMaxLength(files);
  const native = readNative(Tokenizer, describeClip(files));
  return {
    maxLength,
    begin: readId(native, files, "bos_token"),
    end: readId(native, files, "eos_token"),
    padding: readId(native, files, "pad_token"),
    comma: native.tokenToId(",</w>") ?? undefined,
    async tokenize(text) {
      const encoded = await native.encode(text, null, { addSpecialTokens: false });
      const offsets = encoded.getOffsets();
      // Offsets count code points, JavaScript's strings UTF-16 units.
      const characters = [...text];
      return encoded.getIds().map((id, i) => {
        const from = i === 0 ? 0 : offsets[i]![0]!;
        return { id, text: characters.slice(from, offsets[i + 1]?.[0]).join("") };
      });
    },
  };
}

/** Loads native code, when a text is there to be read rather than with this module. */
async function loadNative(): Promise<typeof NativeTokenizer> {
  // Asked first: refused, the library takes itself for badly installed.
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") {
    throw new Deno.errors.NotCapable("Requires ffi access to load the tokenizer, run again with the --allow-ffi flag");
  }
  return (await import("tokenizers")).Tokenizer;
}

function readNative(
  Tokenizer: typeof NativeTokenizer,
  json: string,
): NativeTokenizer {
  try {
    const native = Tokenizer.fromString(json);
    native.disablePadding();
    native.disableTruncation();
    return native;
  } catch {
    // Whose error would quote them.
    throw new ModelFileError("tokenizer", "its merges are not of pairs of tokens that its vocabulary has");
  }
}

/** A byte-level BPE: ids by token, and pairs of tokens that become one, most important first. */
interface Vocabulary {
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly (string | readonly string[])[];
}

/** What `tokenizer.json` says of CLIP, for the vocabulary of these files. */
function describeClip(files: TokenizerFiles): string {
  const { vocab, merges } = readVocabulary(files);
  const bos = lookUp(vocab, specialToken(files, "bos_token"));
  const eos = lookUp(vocab, specialToken(files, "eos_token"));
  return JSON.stringify({
    added_tokens: [bos, eos].map((token) => ({
      ...token,
      special: true,
      normalized: false,
      single_word: false,
      lstrip: false,
      rstrip: false,
    })),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        {
          type: "Split",
          pattern: { Regex: WORDS },
          behavior: "Removed",
          invert: true,
        },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true },
      ],
    },
    post_processor: {
      type: "RobertaProcessing",
      sep: [eos.content, eos.id],
      cls: [bos.content, bos.id],
      trim_offsets: false,
      add_prefix_space: false,
    },
    model: {
      type: "BPE",
      unk_token: eos.content,
      continuing_subword_prefix: "",
      end_of_word_suffix: "</w>",
      vocab,
      merges,
    },
  });
}

function readVocabulary({ json, vocab, merges }: TokenizerFiles): Vocabulary {
  if (json !== undefined) {
    const { model } = parseObject("tokenizer.json", json);
    const { type, end_of_word_suffix: suffix, merges } = isObject(model) ? model : {};
    if (isObject(model) && (type ?? "BPE") === "BPE" && suffix === "</w>" && Array.isArray(merges)) {
      return { vocab: checkIds("tokenizer.json", model.vocab), merges: checkMerges("tokenizer.json", merges) };
    }
    throw new ModelFileError("tokenizer.json", "is not a byte-level BPE as CLIP's, whose words end with </w>");
  }
  if (vocab === undefined || merges === undefined) {
    throw new ModelFileError("tokenizer", "neither tokenizer.json nor vocab.json with merges.txt is there");
  }
  const lines = merges.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#version"));
  return { vocab: checkIds("vocab.json", parseObject("vocab.json", vocab)), merges: checkMerges("merges.txt", lines) };
}

function parseObject(file: string, text: string): JsonObject {
  const value = parseJson(file, text);
  if (isObject(value)) return value;
  throw new ModelFileError(file, `is ${shown(value)}, not an object`);
}

function checkIds(file: string, vocab: unknown): Vocabulary["vocab"] {
  const ids = isObject(vocab) ? Object.values(vocab) : [];
  const { vocabulary: most } = LIMITS;
  const wrong = ids.findIndex((id) => !Number.isSafeInteger(id) || id as number < 0 || id as number >= most);
  if (ids.length > 0 && ids.length <= most && wrong < 0) return vocab as Vocabulary["vocab"];
  const problem = wrong < 0 ? `has a vocabulary of ${ids.length} tokens` : `has the id ${shown(ids[wrong])}`;
  throw new ModelFileError(file, `${problem}; there must be 1 to ${most}, and ids are whole numbers below that`);
}

function checkMerges(file: string, merges: readonly unknown[]): Vocabulary["merges"] {
  const { vocabulary: most } = LIMITS;
  if (merges.length > most) throw new ModelFileError(file, `has ${merges.length} merges; at most ${most} are read`);
  const isPair = (merge: unknown) => Array.isArray(merge) && merge.length === 2 && merge.every(isText);
  const wrong = merges.findIndex((merge) => !isText(merge) && !isPair(merge));
  if (wrong < 0) return merges as Vocabulary["merges"];
  throw new ModelFileError(file, `merge ${wrong + 1} is ${shown(merges[wrong])}, not a pair of tokens`);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function lookUp(vocab: Vocabulary["vocab"], content: string) {
  const id = Object.hasOwn(vocab, content) ? vocab[content] : undefined;
  if (id !== undefined) return { content, id };
  throw new ModelFileError("tokenizer", `lacks the token ${shown(content)}`);
}

function readMaxLength(files: TokenizerFiles): number {
  const written = files.config.model_max_length ?? DEFAULT_LENGTH;
  const length = Number.isInteger(written) ? Number(written) : 0;
  if (length >= 3) return length > LIMITS.tokens ? DEFAULT_LENGTH : length;
  throw new ModelFileError(
    "tokenizer_config.json",
    `model_max_length must be a whole number from 3, got ${shown(written)}`,
  );
}

function readId(native: NativeTokenizer, files: TokenizerFiles, key: SpecialToken): number {
  const token = specialToken(files, key);
  const id = native.tokenToId(token);
  if (id !== null) return id;
  throw new ModelFileError("tokenizer", `lacks the ${SPECIAL_TOKENS[key]} token ${shown(token)}`);
}

/** Written as a plain text or as `{ content }`; CLIP's own when unsaid. */
function specialToken(
  { config, specialTokens }: TokenizerFiles,
  key: SpecialToken,
): string {
  const value = specialTokens[key] ?? config[key] ?? (key === "bos_token" ? "<|startoftext|>" : "<|endoftext|>");
  const content = isObject(value) ? value.content : value;
  if (isText(content)) return content;
  throw new ModelFileError("tokenizer", `${key} is ${shown(content)}, not a text`);
}
