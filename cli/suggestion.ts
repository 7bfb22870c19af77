/**
 * What a misspelt word was meant to be.
 * @module
 */

/** Single-character edits between two words (Levenshtein 1966). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The nearest of `words` when at most a third of `word` must change; a beginning counts as one edit. */
export function suggest(word: string, words: readonly string[]): string | undefined {
  const near = words
    .map((known) => ({ known, distance: begins(word, known) ? 1 : editDistance(word, known) }))
    .filter(({ distance }) => distance <= Math.max(1, word.length / 3))
    .sort((a, b) => a.distance - b.distance);
  return near[0]?.known;
}

function begins(word: string, known: string): boolean {
  return word.length > 1 && known.startsWith(word);
}
