/**
 * Names of pictures that nobody named.
 * @module
 */

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
