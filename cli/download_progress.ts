/**
 * How far a download is, on standard error.
 * @module
 */
import { showBytes } from "./byte_count.ts";
import { type Environment, say } from "./environment.ts";
import { StatusLine } from "./progress.ts";

export interface DownloadProgress {
  /** So many bytes of `total` are here. */
  update(bytes: number, total: number): void;
  /** Ends a line that is redrawn, so that another can follow. */
  breakLine(): void;
}

/** Milliseconds between two drawings of the line, at least. */
const REDRAW = 100;

/** Shows a line that is redrawn on a terminal, and anywhere else a line per tenth. */
export function createDownloadProgress(environment: Environment, now = () => performance.now()): DownloadProgress {
  const status = new StatusLine(environment);
  let first: { readonly bytes: number; readonly time: number } | undefined;
  let drawn = -Infinity;
  let tenth = 0;
  return {
    breakLine: () => status.breakLine(),
    update(bytes, total) {
      first ??= { bytes, time: now() };
      const reached = Math.floor(10 * bytes / total);
      const percent = Math.floor(100 * bytes / total);
      const line = `${showBytes(bytes)} of ${showBytes(total)}, ${percent} %${rate(bytes, first)}`;
      if (status.isLive && (now() - drawn >= REDRAW || bytes === total)) {
        status.show(line);
        drawn = now();
      } else if (!status.isLive && reached > tenth) {
        say(environment, line);
      }
      if (bytes === total) status.breakLine();
      tenth = reached;
    },
  };

  function rate(bytes: number, since: { readonly bytes: number; readonly time: number }): string {
    const seconds = (now() - since.time) / 1000;
    return seconds < 1 ? "" : `, ${showBytes(Math.max(0, bytes - since.bytes) / seconds)} a second`;
  }
}
