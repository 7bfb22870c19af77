/**
 * The grammar of AUTOMATIC1111's prompts: `(more)`, `[less]`, `(as said:1.2)`, `\(` for a bracket that is text, `BREAK`.
 * @module
 */
import { quoted } from "../../weights/json.ts";

/** A text, and the factor of its tokens' context. */
export interface WeightedText {
  /** Text without its grammar. */
  readonly text: string;
  /** 1 where nothing was said. */
  readonly weight: number;
}

/** What the brackets alone multiply by. */
const MORE = 1.1;
const LESS = 1 / 1.1;

/** Far above any use: more would leave float16's range. */
const LARGEST = 100;

/** A backslash and what it makes text, a bracket, a weight and its closing bracket, or text. */
const PIECES = /\\[\\()[\]]?|[()[\]]|:\s*(?<weight>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)|[^\\()[\]:]+|:/g;

/** `BREAK` as a word of its own. */
const BREAK = /(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])/u;

/** Brackets that may be open at once: each of them weighs all that follows. */
const MOST_OPEN = 100;

/** A part while brackets around it may still close. */
interface OpenPart {
  readonly text: string;
  /** How many `BREAK`s stand before it. */
  readonly section: number;
  weight: number;
}

/**
 * Reads a prompt: one list of weighted texts for each section between `BREAK`s. Neighbours of equal weight are one text.
 * Weights of nested brackets multiply; an opening bracket that nothing closes reaches to the end, a closing one that
 * nothing opened is text. Round and square brackets do not see each other, so they may overlap.
 *
 * @throws {RangeError} when a weight is not -100 to 100, or too many brackets are open.
 */
export function parsePrompt(prompt: string): readonly (readonly WeightedText[])[] {
  const parts: OpenPart[] = [];
  const [round, square]: [number[], number[]] = [[], []];
  let section = 0;
  const weigh = (first: number, factor: number) => {
    for (const part of parts.slice(first)) part.weight *= factor;
  };
  const close = (opened: number[], factor: number): boolean => {
    const first = opened.pop();
    if (first !== undefined) weigh(first, factor);
    return first !== undefined;
  };
  const open = (opened: number[]) => {
    opened.push(parts.length);
    if (round.length + square.length <= MOST_OPEN) return;
    throw new RangeError(`More than ${MOST_OPEN} brackets are open; \\( and \\[ are text`);
  };
  const read = (piece: string) => {
    const texts = piece.split(BREAK);
    texts.forEach((text, i) => {
      if (i > 0) section++;
      // The white space around a `BREAK` goes with it.
      const begun = i > 0 ? text.trimStart() : text;
      parts.push({ text: i < texts.length - 1 ? begun.trimEnd() : begun, section, weight: 1 });
    });
  };
  for (const { 0: piece, groups } of prompt.matchAll(PIECES)) {
    if (piece.startsWith("\\")) parts.push({ text: piece.slice(1), section, weight: 1 });
    else if (piece === "(") open(round);
    else if (piece === "[") open(square);
    else if (piece.endsWith(")") && close(round, Number(groups?.weight ?? MORE))) continue;
    else if (piece === "]" && close(square, LESS)) continue;
    else read(piece);
  }
  for (const first of round) weigh(first, MORE);
  for (const first of square) weigh(first, LESS);
  parts.forEach(checkWeight);
  const sections = Array.from({ length: section + 1 }, (): OpenPart[] => []);
  for (const part of parts) sections[part.section]!.push(part);
  return sections.map(merged);
}

function checkWeight({ text, weight }: OpenPart): void {
  if (Math.abs(weight) <= LARGEST) return;
  throw new RangeError(`The weight of ${quoted(text)} is ${weight}, want ${-LARGEST} to ${LARGEST}`);
}

/** Neighbours of equal weight as one text: they are tokenized together. */
function merged(parts: readonly OpenPart[]): readonly WeightedText[] {
  const texts: WeightedText[] = [];
  for (const { text, weight } of parts) {
    const last = texts.at(-1);
    if (last?.weight === weight) texts.splice(-1, 1, { text: last.text + text, weight });
    else texts.push({ text, weight });
  }
  return texts.filter(({ text }) => text !== "");
}
