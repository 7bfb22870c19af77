/**
 * Numbers of things for people.
 * @module
 */

/** `1 step`, `2 steps`. */
export function showCount(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

/** Memory of a GPU: `5.40 GiB`. */
export function showGibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}

/** Memory of a GPU by the stages that take it: `text 1.63 GiB, denoise 5.48 GiB`. */
export function showStages(bytes: Readonly<Record<string, number>>): string {
  return Object.entries(bytes).map(([stage, own]) => `${stage} ${showGibibytes(own)}`).join(", ");
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** A number of bytes with two or three digits: `45 MB`, `2.1 GB`. */
export function showBytes(bytes: number): string {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** power;
  return `${power === 0 || value >= 9.95 ? Math.round(value) : value.toFixed(1)} ${
    bytes === 1 ? "byte" : UNITS[power]
  }`;
}
