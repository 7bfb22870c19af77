/**
 * Numbers of things for people.
 * @module
 */

/** `1 step`, `2 steps`. */
export function showCount(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
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
