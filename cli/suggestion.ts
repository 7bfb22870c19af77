/**
 * What a misspelt word was meant to be.
 * @module
 */

/** Edits of one letter, or of two neighbours that change places, between two words (Damerau 1964). */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  for (let i = 1; i <= a.length; i++) {
    const [row, next] = [rows[i - 1]!, [i]];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? rows[i - 2]![j - 2]! + 1 : Infinity;
      next.push(Math.min(replaced, swapped, row[j]! + 1, next[j - 1]! + 1));
    }
    rows.push(next);
  }
  return rows[a.length]![b.length]!;
}

/** Longer words are nothing that was misspelt. */
const LONGEST = 40;

/** The nearest of `words` when at most a third of `word` must change; a beginning counts as one edit. */
export function suggest(word: string, words: readonly string[]): string | undefined {
  if (word.length > LONGEST) return undefined;
  const near = words
    .map((known) => ({ known, distance: begins(word, known) ? 1 : editDistance(word, known) }))
    .filter(({ distance }) => distance <= Math.max(1, word.length / 3))
    .sort((a, b) => a.distance - b.distance);
  return near[0]?.known;
}

function begins(word: string, known: string): boolean {
  return word.length > 1 && known.startsWith(word);
}
