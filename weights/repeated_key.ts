/**
 * Finds what JSON.parse hides: of two equal keys it keeps the last in silence.
 * @module
 */

/** Objects nested deeper than a safetensors header needs are not looked into, so that memory stays bounded. */
const DEEPEST = 2;

/** The first key that an object in `json` holds twice; `json` is known to be valid. Escapes are resolved before comparing. */
export function repeatedKey(json: string): string | undefined {
  const keys: Set<string>[] = [];
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === "{") {
      depth++;
      if (depth <= DEEPEST) keys[depth] = new Set();
    } else if (character === "}") {
      depth--;
    } else if (character === '"') {
      const end = stringEnd(json, at);
      if (depth <= DEEPEST && isKey(json, end)) {
        const key: string = JSON.parse(json.slice(at, end));
        if (keys[depth]!.has(key)) return key;
        keys[depth]!.add(key);
      }
      at = end - 1;
    }
  }
  return undefined;
}

/** The index after the string literal that starts at `start`. */
function stringEnd(json: string, start: number): number {
  let at = start + 1;
  while (json[at] !== '"') at += json[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** Whether the string literal that ended before `at` is a key: in valid JSON nothing else has a colon behind it. */
function isKey(json: string, at: number): boolean {
  while (" \t\n\r".includes(json[at]!)) at++;
  return json[at] === ":";
}
