/**
 * Text to token ids, as CLIP reads it: byte-level BPE with `</w>` closing a
 * word (Radford et al. 2021, "Learning Transferable Visual Models").
 * @module
 */
import type { Tokenizer as NativeTokenizer } from "tokenizers";
import { ModelFileError, type TokenizerFiles } from "../weights/mod.ts";

/** A token of a text. */
export interface Token {
  /** Its row in the text encoder's table. */
  readonly id: number;
  /**
   * What it stands for, with what lies between it and the next token: all tokens' texts are the whole text. Where a
   * character is several tokens, the last of them has it.
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
const LONGEST_LENGTH = 4096;

/** Tokens with a meaning of their own, as the files call them and as messages do. */
const SPECIAL_TOKENS = { bos_token: "begin", eos_token: "end", pad_token: "padding" } as const;
type SpecialToken = keyof typeof SPECIAL_TOKENS;

/** CLIP's words: contractions, runs of letters, single digits, the rest. */
const WORDS = String
  .raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;

/**
 * Builds a model's tokenizer from `tokenizer.json`, or from `vocab.json` and
 * `merges.txt` where there are only these (Stable Diffusion 1.4).
 *
 * @throws {ModelFileError} when files are missing or cannot be read.
 */
export async function loadTokenizer(files: TokenizerFiles): Promise<Tokenizer> {
  const Tokenizer = await loadNative();
  const maxLength = readMaxLength(files);
  const native = readNative(Tokenizer, files.json ?? describeClip(files));
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
  } catch (cause) {
    const { message } = cause as Error;
    throw new ModelFileError("tokenizer", `cannot be read: ${message}`, {
      cause,
    });
  }
}

/** What `tokenizer.json` says of CLIP, written out for a bare vocabulary. */
function describeClip(files: TokenizerFiles): string {
  if (files.vocab === undefined || files.merges === undefined) {
    throw new ModelFileError(
      "tokenizer",
      "neither tokenizer.json nor vocab.json with merges.txt is there",
    );
  }
  const vocab = parseVocabulary(files.vocab);
  const bos = lookUp(vocab, specialToken(files, "bos_token"));
  const eos = lookUp(vocab, specialToken(files, "eos_token"));
  const merges = files.merges.split(/\r?\n/)
    .filter((line) => line !== "" && !line.startsWith("#version"));
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

function parseVocabulary(text: string): Record<string, number> {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ModelFileError("vocab.json", "is not JSON", { cause });
  }
}

function lookUp(vocab: Record<string, number>, content: string) {
  const id = vocab[content];
  if (id !== undefined) return { content, id };
  throw new ModelFileError("vocab.json", `lacks the token ${content}`);
}

function readMaxLength(files: TokenizerFiles): number {
  const written = files.config.model_max_length ?? DEFAULT_LENGTH;
  const length = Number.isInteger(written) ? Number(written) : 0;
  if (length >= 3) return length > LONGEST_LENGTH ? DEFAULT_LENGTH : length;
  throw new ModelFileError(
    "tokenizer_config.json",
    `model_max_length must be a whole number from 3, got ${JSON.stringify(written)}`,
  );
}

function readId(native: NativeTokenizer, files: TokenizerFiles, key: SpecialToken): number {
  const token = specialToken(files, key);
  const id = native.tokenToId(token);
  if (id !== null) return id;
  throw new ModelFileError("tokenizer", `lacks the ${SPECIAL_TOKENS[key]} token ${token}`);
}

/** Written as a plain text or as `{ content }`; CLIP's own when unsaid. */
function specialToken(
  { config, specialTokens }: TokenizerFiles,
  key: SpecialToken,
): string {
  const value = specialTokens[key] ?? config[key];
  if (typeof value === "string") return value;
  if (value instanceof Object && "content" in value) {
    return String(value.content);
  }
  return key === "bos_token" ? "<|startoftext|>" : "<|endoftext|>";
}
