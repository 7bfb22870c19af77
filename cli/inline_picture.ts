/**
 * Pictures between the lines of a terminal.
 * @module
 */
import type { Environment } from "./environment.ts";
import type { Shown } from "./terminal.ts";

/** Writes a PNG file as a terminal expects it. */
export type InlineEncoder = (png: Uint8Array) => Shown;

/** The most letters of base64 that kitty takes at once. */
const CHUNK = 4096;

/**
 * kitty's graphics protocol (https://sw.kovidgoyal.net/kitty/graphics-protocol/): a PNG (`f=100`) that is sent and shown
 * (`a=T`) in chunks (`m=1` where more follow), and nothing is answered (`q=2`).
 */
export function encodeKitty(png: Uint8Array): Shown {
  const data = png.toBase64();
  const count = Math.ceil(data.length / CHUNK);
  return Array.from({ length: count }, (_, i) => {
    const keys = [...(i === 0 ? ["a=T", "f=100", "q=2"] : []), `m=${i === count - 1 ? 0 : 1}`];
    return `\x1b_G${keys.join()};${data.slice(i * CHUNK, (i + 1) * CHUNK)}\x1b\\`;
  }).join("") as Shown;
}

/** iTerm2's inline images (https://iterm2.com/documentation-images.html). */
export function encodeIterm(png: Uint8Array): Shown {
  return `\x1b]1337;File=inline=1;size=${png.length}:${png.toBase64()}\x07` as Shown;
}

/**
 * How the terminal on standard error expects pictures; undefined when standard error is not a terminal, or one that is
 * not known to show any. Within tmux and screen the terminal is out of reach.
 */
export function findInlineEncoder({ notices, variable }: Environment): InlineEncoder | undefined {
  if (!notices.isTerminal()) return undefined;
  const term = variable("TERM") ?? "";
  if (variable("TMUX") || /^(dumb|screen|tmux)/.test(term)) return undefined;
  const program = variable("TERM_PROGRAM") ?? "";
  if (variable("KITTY_WINDOW_ID") || variable("KONSOLE_VERSION") || program === "ghostty") return encodeKitty;
  if (/^xterm-(kitty|ghostty)$/.test(term)) return encodeKitty;
  if (["iTerm.app", "WezTerm", "mintty"].includes(program) || variable("LC_TERMINAL") === "iTerm2") return encodeIterm;
  return undefined;
}
