/**
 * Textual inversions in prompts: their vectors stand where the tokens of their words would.
 * @module
 */
import { type EmbeddingFile, LIMITS, openEmbedding as openFile } from "../../weights/mod.ts";
import type { Model } from "../model.ts";
import type { Token, Tokenizer } from "../tokenizer.ts";

/**
 * Reads the textual inversion in the file at `path`: one or several vectors for each of the model's text encoders. The file
 * is open only while it is read.
 * @throws {ModelNotFoundError} there is no such file
 * @throws {ModelFileError} the file is damaged, a pickle or no textual inversion, or is for another kind of model
 */
export function openEmbedding(path: string, { parts }: Model): EmbeddingFile {
  return openFile(path, parts);
}

/** A word, and the vectors that one text encoder reads in its place. */
export interface EmbeddedWord {
  /** What stands in prompts. */
  readonly word: string;
  /** At least one, as wide as the text encoder. */
  readonly vectors: readonly Float32Array[];
}

/** What goes on with a word, so that it would be another one. */
const IN_WORD = /[\p{L}\p{N}_]/u;

/**
 * A tokenizer that reads words as their vectors, whatever their case, and also where `embedding:` is before them, as
 * ComfyUI has it; the longest that fits is meant. It is for the prompts of one request, since it counts what it reads.
 */
export function withEmbeddings(tokenizer: Tokenizer, words: readonly EmbeddedWord[]): Tokenizer {
  if (words.length === 0) return tokenizer;
  // As diffusers numbers added tokens: CLIP's last one is its end.
  let id = tokenizer.end + 1;
  const known = words.map(({ word, vectors }) => ({ word, tokens: vectors.map((vector) => ({ id: id++, vector })) }))
    .toSorted((a, b) => b.word.length - a.word.length);
  const pattern = new RegExp(known.map(({ word }) => `(${sourceOf(word)})`).join("|"), "giu");
  // A prompt and a negative one of all the chunks that are read: a word of one letter may be many vectors, many times.
  let left = 2 * LIMITS.chunks * tokenizer.maxLength;
  return {
    ...tokenizer,
    async tokenize(text) {
      const parts: (readonly Token[] | Promise<readonly Token[]>)[] = [];
      let end = 0;
      for (const match of text.matchAll(pattern)) {
        const { 0: found, index } = match;
        const { tokens } = known[match.indexOf(found, 1) - 1]!;
        left -= tokens.length;
        if (left < 0) throw new RangeError("It holds more vectors of textual inversions than are read");
        parts.push(tokenizer.tokenize(text.slice(end, index)));
        parts.push(tokens.map((token, i) => ({ ...token, text: i === tokens.length - 1 ? found : "" })));
        end = index + found.length;
      }
      return (await Promise.all([...parts, tokenizer.tokenize(text.slice(end))])).flat();
    },
  };
}

/** The pattern of a word, with the white space after it: that belongs to a token's text. */
function sourceOf(word: string): string {
  const letters = [...word];
  const alone = (look: string, letter = "") => IN_WORD.test(letter) ? `(?${look}${IN_WORD.source})` : "";
  const [before, after] = [alone("<!", letters[0]), alone("!", letters.at(-1))];
  return `(?:(?<!${IN_WORD.source})embedding:)?${before}${RegExp.escape(word)}${after}\\s*`;
}
