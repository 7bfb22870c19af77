/**
 * Names of pictures: from a template, or made up.
 * @module
 */
import { UsageError } from "./errors.ts";
import { suggest } from "./suggestion.ts";

/** Letters of a name, so that name, seed and ending stay below a file system's 255 bytes. */
const LONGEST = 48;

/** A prompt as part of a file name: `A slice of pizza!` becomes `a-slice-of-pizza`. */
export function slug(prompt: string): string {
  const words = prompt.normalize("NFC").toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? ["picture"];
  const letters = [...words.join("-")].slice(0, LONGEST).join("");
  return letters.replace(/-$/, "");
}

/** `name.png`, or the first of `name-2.png`, `name-3.png` ... that is not `taken`. */
export function freeName(name: string, taken: (fileName: string) => boolean): string {
  for (let number = 1;; number++) {
    const fileName = `${name}${number === 1 ? "" : `-${number}`}.png`;
    if (!taken(fileName)) return fileName;
  }
}

/** What a template can be filled in with. */
export interface NameParts {
  /** Which picture of the run, from 1. */
  readonly index: number;
  /** Its seed. */
  readonly seed: bigint;
  /** Its prompt. */
  readonly prompt: string;
}

/**
 * Fills in a template: `{index}` becomes four digits or more, so that names sort and stay the same when a batch grows,
 * `{seed}` the seed, `{slug}` the {@link slug} of the prompt.
 *
 * @throws {UsageError} for braces around anything else.
 */
export function fillIn(template: string, { index, seed, prompt }: NameParts): string {
  const known: Readonly<Record<string, string>> = {
    index: `${index}`.padStart(4, "0"),
    seed: `${seed}`,
    slug: slug(prompt),
  };
  return template.replaceAll(/\{([^{}]*)\}/g, (written, name: string) => {
    if (Object.hasOwn(known, name)) return known[name]!;
    const meant = suggest(name, Object.keys(known));
    const hint = meant === undefined ? "known are {index}, {seed} and {slug}" : `did you mean {${meant}}?`;
    throw new UsageError(`--output cannot fill in ${written}: ${hint}`);
  });
}
