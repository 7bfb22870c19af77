/**
 * A prompt as the chunks of tokens that the text encoder reads one by one.
 * @module
 */
import { LIMITS } from "../../weights/limits.ts";
import type { Request } from "../request.ts";
import type { Token, Tokenizer } from "../tokenizer.ts";
import { parsePrompt, type WeightedText } from "./grammar.ts";

/** What the text encoder reads at once. */
export interface PromptChunk {
  /** `maxLength` ids: begin, tokens, end, padding. */
  readonly ids: readonly number[];
  /** The factor of each id's context; 1 for begin, end and padding. */
  readonly weights: readonly number[];
  /** The tokens that are text. */
  readonly tokens: readonly WeightedToken[];
}

/** A token of a prompt, and the factor of its context. */
export interface WeightedToken extends Token {
  /** 1 where the prompt does not say otherwise. */
  readonly weight: number;
}

/** A prompt as a model reads it. */
export interface EncodedPrompt {
  /** At least one, in the order of the prompt. */
  readonly chunks: readonly PromptChunk[];
  /** Tokens of the whole prompt, those that are cut off too. */
  readonly count: number;
  /** The part of the text that was cut off; empty when all of it is read. */
  readonly cut: string;
}

/** How a prompt is read, see {@link Request}. */
export type PromptReading = Pick<Request, "promptSyntax" | "longPrompt">;

/** Of a chunk's last tokens, how many move to the next one so that it begins after a comma: A1111's default. */
const COMMA_REACH = 20;

/**
 * Reads one prompt.
 *
 * @throws {RangeError} when a weight is too large to be meant, or it has more chunks than are read.
 */
export async function encodePrompt(
  tokenizer: Tokenizer,
  prompt: string,
  { promptSyntax = "plain", longPrompt = "truncate" }: PromptReading,
): Promise<EncodedPrompt> {
  const texts = promptSyntax === "a1111" ? parsePrompt(prompt) : [[{ text: prompt, weight: 1 }]];
  const sections = await Promise.all(texts.map((parts) => tokenize(parts, tokenizer)));
  const all = sections.flat();
  const chunks = longPrompt === "chunk"
    ? withoutLastEmpty(sections).flatMap((tokens) => split(tokens, tokenizer))
    : [sections[0]!.slice(0, tokenizer.maxLength - 2)];
  if (chunks.length > LIMITS.chunks) {
    throw new RangeError(`It is ${chunks.length} chunks of tokens long; at most ${LIMITS.chunks} are read`);
  }
  const read = chunks.reduce((sum, tokens) => sum + tokens.length, 0);
  return {
    chunks: chunks.map((tokens) => createChunk(tokens, tokenizer)),
    count: all.length,
    cut: all.slice(read).map(({ text }) => text).join("").trim(),
  };
}

/** The chunks of prompts that are encoded side by side: all get as many as the longest has, the rest are empty. */
export function inEqualChunks(
  tokenizer: Tokenizer,
  prompts: readonly EncodedPrompt[],
): readonly (readonly PromptChunk[])[] {
  const most = Math.max(...prompts.map(({ chunks }) => chunks.length));
  return prompts.map(({ chunks }) => [
    ...chunks,
    ...Array.from({ length: most - chunks.length }, () => createChunk([], tokenizer)),
  ]);
}

async function tokenize(parts: readonly WeightedText[], tokenizer: Tokenizer): Promise<readonly WeightedToken[]> {
  const tokens = await Promise.all(parts.map(({ text }) => tokenizer.tokenize(text)));
  return parts.flatMap(({ weight }, i) => tokens[i]!.map((token) => ({ ...token, weight })));
}

/** A `BREAK` at the very end begins nothing. */
function withoutLastEmpty<T>(sections: readonly (readonly T[])[]): readonly (readonly T[])[] {
  return sections.length > 1 && sections.at(-1)!.length === 0 ? sections.slice(0, -1) : sections;
}

function createChunk(tokens: readonly WeightedToken[], { maxLength, begin, end, padding }: Tokenizer): PromptChunk {
  const [ids, weights] = [new Array<number>(maxLength).fill(padding), new Array<number>(maxLength).fill(1)];
  [begin, ...tokens.map(({ id }) => id), end].forEach((id, i) => ids[i] = id);
  tokens.forEach(({ weight }, i) => weights[i + 1] = weight);
  return { ids, weights, tokens };
}

/** Cuts the tokens of a section into chunks; no tokens are one chunk. */
function split(
  tokens: readonly WeightedToken[],
  { maxLength, comma }: Tokenizer,
): readonly (readonly WeightedToken[])[] {
  const limit = maxLength - 2;
  const chunks: (readonly WeightedToken[])[] = [];
  let start = 0;
  while (tokens.length - start > limit) {
    const end = start + limit;
    // A comma that just finds no room opens the next chunk, as in A1111.
    const reach = tokens[end]!.id === comma ? 0 : Math.min(COMMA_REACH, limit);
    const after = tokens.slice(end - reach, end).findLastIndex(({ id }) => id === comma) + 1;
    const back = broken(tokens.slice(start, end));
    const next = back > 0 || after === 0 ? end - back : end - reach + after;
    chunks.push(tokens.slice(start, next));
    start = next;
  }
  return [...chunks, tokens.slice(start)];
}

/** How many tokens at the end of a chunk begin a textual inversion that goes on: it moves to the next one if it fits there. */
function broken(tokens: readonly WeightedToken[]): number {
  const goesOn = tokens.toReversed().findIndex(({ vector, text }) => vector === undefined || text !== "");
  return Math.max(0, goesOn);
}
