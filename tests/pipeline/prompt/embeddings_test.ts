import { assertEquals, assertRejects } from "@std/assert";
import { encodePrompt } from "../../../pipeline/prompt/chunks.ts";
import { withEmbeddings } from "../../../pipeline/prompt/embeddings.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer.ts";

const COMMA = 0;

/** A token a word or mark, whose id is its length; the comma's is 0. */
const tokenizer: Tokenizer = {
  maxLength: 77,
  begin: -1,
  end: 100,
  padding: -3,
  comma: COMMA,
  tokenize: (text) =>
    Promise.resolve(
      Array.from(text.matchAll(/\s*([\p{L}\p{N}_]+|[^\p{L}\p{N}_\s])\s*/gu), ([text, word]) => {
        return { id: word === "," ? COMMA : word!.length, text };
      }),
    ),
};

/** Words of so many vectors; the first one's are 101, 102, ... */
function reading(words: Readonly<Record<string, number>>): Tokenizer {
  const vectors = (count: number) => Array.from({ length: count }, () => new Float32Array(4));
  return withEmbeddings(tokenizer, Object.entries(words).map(([word, count]) => ({ word, vectors: vectors(count) })));
}

async function idsOf(own: Tokenizer, text: string): Promise<readonly number[]> {
  const tokens = await own.tokenize(text);
  assertEquals(tokens.map(({ text }) => text).join(""), text);
  assertEquals(tokens.map(({ vector }) => vector !== undefined), tokens.map(({ id }) => id > 100));
  return tokens.map(({ id }) => id);
}

Deno.test("a textual inversion is read where its word is a word of its own, whatever its case", async () => {
  const own = reading({ "cat": 2, "<thing>": 1, "bad-hands": 1, "bad-hands-5": 1, "ÄrtÉ": 1, "a.b (c)": 1 });
  const [CAT, THING, BAD, BAD5, ART, ABC] = [[101, 102], [103], [104], [105], [106], [107]] as const;
  for (
    const [text, ids] of [
      ["cat", CAT],
      ["a cat on a Cat, CAT", [1, ...CAT, 2, 1, ...CAT, COMMA, ...CAT]],
      ["a concatenation of cats, cat_1 and 2cat", [1, 13, 2, 4, COMMA, 5, 3, 4]],
      ["cat-like (cat)", [...CAT, 1, 4, 1, ...CAT, 1]],
      ["<thing><thing>, a<thing>s", [...THING, ...THING, COMMA, 1, ...THING, 1]],
      ["a thing", [1, 5]],
      ["bad-hands-5 bad-hands", [...BAD5, ...BAD]],
      ["embedding:cat, Embedding:<thing>", [...CAT, COMMA, ...THING]],
      ["embedding: cat", [9, 1, ...CAT]],
      ["ärté", ART],
      ["a.b (c) aXb", [...ABC, 3]],
    ] as const
  ) assertEquals(await idsOf(own, text), ids, text);
  assertEquals(reading({}), tokenizer);
});

const CHUNK = { promptSyntax: "a1111", longPrompt: "chunk" } as const;

Deno.test("a textual inversion has the weight of its word, and goes to the next chunk as a whole", async () => {
  const own = reading({ "<w>": 3 });
  const lengths = async (prompt: string, words = own) =>
    (await encodePrompt(words, prompt, CHUNK)).chunks.map(({ tokens }) => tokens.length);
  const { chunks: [chunk] } = await encodePrompt(own, "a (<w>:1.5) b", CHUNK);
  assertEquals(chunk!.ids.slice(0, 7), [-1, 1, 101, 102, 103, 1, 100]);
  assertEquals(chunk!.weights.slice(0, 7), [1, 1, 1.5, 1.5, 1.5, 1, 1]);

  const filler = (count: number) => "x ".repeat(count);
  assertEquals(await lengths(`${filler(72)}<w>`), [75]);
  assertEquals(await lengths(`${filler(72)}<w> x`), [75, 1]);
  assertEquals(await lengths(`${filler(73)}<w>`), [73, 3]);
  assertEquals(await lengths(`${filler(74)}<w> <w>`), [74, 6]);
  // As AUTOMATIC1111: a comma before it does not take the words between along, unless the chunk is full.
  assertEquals(await lengths(`${filler(60)}, ${filler(12)}<w>`), [73, 3]);
  assertEquals(await lengths(`${filler(60)}, ${filler(14)}<w>`), [61, 17]);
  // One that no chunk holds is cut where the chunk ends.
  assertEquals(await lengths("x <w> x", reading({ "<w>": 80 })), [1, 75, 6]);

  const cut = await encodePrompt(own, `${filler(73)}<w> b`, { ...CHUNK, longPrompt: "truncate" });
  assertEquals([cut.chunks[0]!.tokens.length, cut.count, cut.cut], [75, 77, "<w> b"]);
});

Deno.test("a prompt of more vectors than anybody needs is refused, however it is read", async () => {
  for (const prompt of ["a ".repeat(39), "(a:1.1)(a:1.2)".repeat(20)]) {
    for (const longPrompt of ["chunk", "truncate"] as const) {
      const encoding = encodePrompt(reading({ "a": 1024 }), prompt, { ...CHUNK, longPrompt });
      await assertRejects(() => encoding, RangeError, "It holds more vectors of textual inversions than are read");
    }
  }
});
