/**
 * Text as it may reach a terminal. Prompts, files' contents and names, the words of models, hubs and systems: what comes
 * from outside could move the cursor, give the terminal commands, turn the direction of writing or fill the screen.
 * {@link Output.write} takes what is made here, and nothing else.
 * @module
 */

declare const shown: unique symbol;

/** Text for a stream, without anything that steers a terminal. */
export type Shown = string & { readonly [shown]: true };

/** Control characters (C0, DEL, C1) except tabs, line and paragraph separators, and what turns the direction of writing. */
const STEERING = /[^\P{Cc}\t]|[\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/** Letters of a line. */
const LONGEST = 2000;

/** Any text as a part of one line: shortened in its middle, line breaks as spaces, what steers as `\x1b` or `\u202e`. */
export function inline(text: string, most = LONGEST): string {
  const half = most / 2;
  const short = text.length <= most
    ? text
    : `${text.slice(0, half)} ... ${text.length - most} letters ... ${text.slice(-half)}`;
  return visible(short.split(/[\r\n]+/).map((part) => part.trim()).filter(Boolean).join(" "));
}

/** A sentence, which says no password. */
export function line(text: string): Shown {
  return `${inline(withoutPasswords(text))}\n` as Shown;
}

/** Our own lines, whose line breaks stay. */
export function block(text: string): Shown {
  return text.split("\n").map(visible).join("\n") as Shown;
}

/** A line of JSON; what steers is written as JSON can write it, so that it stays the same document. */
export function json(document: object): Shown {
  const escaped = JSON.stringify(document).replaceAll(STEERING, (letter) => `\\u${hex(letter, 4)}`);
  return `${escaped}\n` as Shown;
}

/** A name for programs, as it is; a terminal gets it as {@link inline} shows it. */
export function name(text: string, { isTerminal }: { isTerminal(): boolean }): Shown {
  return `${isTerminal() ? inline(text) : text}\n` as Shown;
}

/** A line that takes the place of the one that the cursor is in, of `length` letters. */
export function redrawn(text: string, length: number): Shown {
  return `\r${inline(text).padEnd(length)}` as Shown;
}

/** The user and password of addresses (`https://user:password@host`) as `***`. */
export function withoutPasswords(text: string): string {
  return text.replaceAll(/:\/\/[^\s/@]{1,256}@/g, "://***@");
}

/** What steers as `\x1b` or `\u202e`, all else as it is. */
export function visible(text: string): string {
  return text.replaceAll(STEERING, (letter) => letter <= "\xff" ? `\\x${hex(letter, 2)}` : `\\u${hex(letter, 4)}`);
}

function hex(letter: string, digits: number): string {
  return letter.charCodeAt(0).toString(16).padStart(digits, "0");
}
