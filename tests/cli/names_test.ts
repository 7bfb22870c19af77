import { assert, assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../cli/errors.ts";
import { fillIn, findClash, type NamedFiles, numberedNames, readTemplate, slug } from "../../cli/names.ts";

Deno.test("a slug keeps letters and digits of any script", () => {
  for (
    const [prompt, expected] of [
      ["A slice of pizza!", "a-slice-of-pizza"],
      ["../../etc/passwd", "etc-passwd"],
      ["日本語 E\u0301té 4K", "日本語-été-4k"],
      ["🍕", "picture"],
      ["\0\n.", "picture"],
      [`${"x".repeat(47)} y`, "x".repeat(47)],
    ] as const
  ) {
    assertEquals(slug(prompt), expected);
  }
});

Deno.test("the longest name fits a file system", () => {
  const names = numberedNames(`${slug("𠀀".repeat(100))}-${2n ** 64n - 1n}.png`);
  const [first, second] = [names.next().value!, names.next().value!];
  assertEquals(second, first.replace(".png", "-2.png"));
  assert(new TextEncoder().encode(second).length + 5 <= 255);
});

/** Files for {@link findClash}: a template, the first index and seed, and how many there are. */
function files(template: string, index: number, seed: number, count = 1, isRead = false): NamedFiles {
  return { pattern: readTemplate(template, "A cat 7"), index, seed: BigInt(seed), count, isRead };
}

/** Whether two names are equal, found the long way. */
function hasClash(all: readonly NamedFiles[]): boolean {
  const names = all.flatMap(({ pattern, index, seed, count, isRead }) =>
    Array.from(
      { length: count },
      (_, i) => ({ name: fillIn(pattern, { index: index + i, seed: seed + BigInt(i) }), isRead }),
    )
  );
  return names.some((one, i) =>
    names.slice(0, i).some(({ name, isRead }) => name === one.name && !(isRead && one.isRead))
  );
}

Deno.test("names that would be the same are found, and only those", () => {
  const parts = ["{index}", "{seed}", "{slug}", "-", "1", "0", "9", "a", "00"];
  let random = 1;
  const next = (below: number) => (random = (random * 48271) % 2147483647) % below;
  let clashes = 0;
  for (let round = 0; round < 3000; round++) {
    let index = 1 + next(3) * 4998;
    const all = Array.from({ length: 2 + next(4) }, () => {
      const template = Array.from({ length: 1 + next(4) }, () => parts[next(parts.length)]).join("");
      const count = 1 + next(4);
      const made = files(template, index, next(2) ? index : next(120), count, next(4) === 0);
      index += count;
      return made;
    });
    const clash = findClash(all);
    assertEquals(clash !== undefined, hasClash(all), JSON.stringify(all.map(({ pattern }) => pattern)));
    if (clash === undefined) continue;
    clashes++;
    for (const [{ pattern, index, seed }, offset] of [clash.one, clash.other]) {
      assertEquals(fillIn(pattern, { index: index + offset, seed: seed + BigInt(offset) }), clash.name);
    }
  }
  assert(clashes > 500 && clashes < 2500, `${clashes} clashes`);
});

Deno.test("a billion names are compared by their ranges, and where that is not enough they are refused", () => {
  const million = 2 ** 20;
  const lines = Array.from({ length: 300 }, (_, i) => files("{index}-{seed}-{slug}.png", 1 + i * million, 7, million));
  assertEquals(findClash(lines), undefined);
  assertEquals(findClash([...lines, files("0001-7-a-cat-7.png", 0, 0)])?.name, "0001-7-a-cat-7.png");
  assertEquals(findClash(lines.map(({ index }) => files("{seed}.png", index, index, million))), undefined);
  const words = "The names of too many pictures may be the same: put {index} into --output";
  const [even, odd] = [files("{seed}0.png", 1, 1, million), files("{seed}1.png", 1, 1, million)];
  assertThrows(() => findClash([even, odd]), UsageError, words);
  assertEquals(findClash([even, files("{seed}.png", 1, 500_000)])?.name, "500000.png");
  assertEquals(findClash([even, files("{seed}.png", 1, 500_001)]), undefined);
  assertEquals(findClash([files("x.png", 1, 1, million)])?.name, "x.png");
});
