import { assertEquals, assertRejects } from "@std/assert";
import { type EncodedPrompt, encodePrompt, inEqualChunks } from "../../../pipeline/prompt/chunks.ts";
import type { Tokenizer } from "../../../pipeline/tokenizer.ts";

const [BEGIN, END, PADDING, COMMA] = [-1, -2, -3, 0];

/** 75 words a chunk; a word's id is its number, and commas are words. */
const tokenizer: Tokenizer = {
  maxLength: 77,
  begin: BEGIN,
  end: END,
  padding: PADDING,
  comma: COMMA,
  tokenize: (text) =>
    Promise.resolve(
      [...text.matchAll(/\s*(\d+|,)\s*/g)].map(([text, word]) => ({ id: Number(word === "," ? COMMA : word), text })),
    ),
};

const CHUNK = { promptSyntax: "a1111", longPrompt: "chunk" } as const;

/** The words `from` to `to`. */
function words(from: number, to: number): string {
  return ids(from, to).join(" ");
}

function ids(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/** The tokens of each chunk; begin, end and padding are checked to be around them. */
function tokensOf({ chunks }: EncodedPrompt): number[][] {
  return chunks.map(({ ids, weights, tokens }) => {
    const own = tokens.map(({ id }) => id);
    assertEquals(ids, [BEGIN, ...own, END, ...new Array(75 - own.length).fill(PADDING)]);
    assertEquals(weights, [1, ...tokens.map(({ weight }) => weight), ...new Array(76 - own.length).fill(1)]);
    return own;
  });
}

Deno.test("a prompt that fits is one chunk and the same one, however it is read", async () => {
  for (const prompt of ["", "1", words(1, 75), "1 , 2, 3"]) {
    const readings = (["a1111", "plain"] as const).flatMap((promptSyntax) =>
      (["chunk", "truncate"] as const).map((longPrompt) => ({ promptSyntax, longPrompt }))
    );
    const [first, ...others] = await Promise.all(readings.map((reading) => encodePrompt(tokenizer, prompt, reading)));
    assertEquals(tokensOf(first!).length, 1);
    assertEquals(first!.cut, "");
    for (const other of others) assertEquals(other, first);
    assertEquals(await encodePrompt(tokenizer, prompt, {}), first);
  }
});

Deno.test("chunks of 75 tokens, the last one padded", async () => {
  for (const promptSyntax of ["a1111", "plain"] as const) {
    const encoded = await encodePrompt(tokenizer, words(1, 151), { ...CHUNK, promptSyntax });
    assertEquals(tokensOf(encoded), [ids(1, 75), ids(76, 150), [151]]);
    assertEquals([encoded.count, encoded.cut], [151, ""]);
  }
  assertEquals(tokensOf(await encodePrompt(tokenizer, words(1, 150), CHUNK)), [ids(1, 75), ids(76, 150)]);
});

Deno.test("a chunk ends behind the last comma among its last 20 tokens", async () => {
  const split = async (before: number, after: number) => {
    const prompt = `${words(1, before)}, ${words(101, 100 + after)}`;
    return tokensOf(await encodePrompt(tokenizer, prompt, CHUNK)).map((tokens) => tokens.length);
  };
  // The comma is token `before`, counted from 0.
  assertEquals(await split(54, 30), [75, 10]);
  assertEquals(await split(55, 30), [56, 30]);
  assertEquals(await split(74, 30), [75, 30]);
  // It finds no room, and opens the next chunk.
  assertEquals(await split(75, 30), [75, 31]);
  // All that is left fits.
  assertEquals(await split(60, 14), [75]);
  const two = await encodePrompt(tokenizer, `${words(1, 56)}, ${words(101, 110)}, ${words(201, 220)}`, CHUNK);
  assertEquals(tokensOf(two), [[...ids(1, 56), COMMA, ...ids(101, 110), COMMA], ids(201, 220)]);
  const weighted = await encodePrompt(tokenizer, `${words(1, 70)}, (${words(101, 110)}:1.5)`, CHUNK);
  assertEquals(tokensOf(weighted)[1], ids(101, 110));
  assertEquals(weighted.chunks[1]!.weights.slice(0, 12), [1, ...new Array(10).fill(1.5), 1]);
});

Deno.test("BREAK fills the chunk up", async () => {
  const read = async (prompt: string) => tokensOf(await encodePrompt(tokenizer, prompt, CHUNK));
  assertEquals(await read("1 BREAK 2"), [[1], [2]]);
  assertEquals(await read(`${words(1, 75)} BREAK 76`), [ids(1, 75), [76]]);
  assertEquals(await read("BREAK 1 BREAK BREAK 2 BREAK"), [[], [1], [], [2]]);
  assertEquals(await read("BREAK"), [[]]);
  assertEquals(tokensOf(await encodePrompt(tokenizer, "1 BREAK 2", { ...CHUNK, promptSyntax: "plain" })), [[1, 2]]);
});

Deno.test("truncate reads the first chunk and says what it leaves out", async () => {
  const cut = async (prompt: string) => {
    const encoded = await encodePrompt(tokenizer, prompt, { ...CHUNK, longPrompt: "truncate" });
    return [tokensOf(encoded), encoded.count, encoded.cut];
  };
  assertEquals(await cut(`${words(1, 74)}, 76  77`), [[[...ids(1, 74), COMMA]], 77, "76  77"]);
  assertEquals(await cut(`${words(1, 60)}, ${words(62, 80)}`), [
    [[...ids(1, 60), COMMA, ...ids(62, 75)]],
    80,
    words(76, 80),
  ]);
  assertEquals(await cut(`${words(1, 74)} (75 76:1.5) 77`), [[ids(1, 75)], 77, "76 77"]);
  assertEquals(await cut("1 BREAK 2 3"), [[[1]], 3, "2 3"]);
});

Deno.test("prompts that are encoded side by side have equally many chunks", async () => {
  const [negative, prompt] = inEqualChunks(tokenizer, [
    await encodePrompt(tokenizer, "7", CHUNK),
    await encodePrompt(tokenizer, "1 BREAK 2 BREAK 3", CHUNK),
  ]);
  assertEquals([negative!.length, prompt!.length], [3, 3]);
  assertEquals(negative!.map(({ ids }) => ids.slice(0, 3)), [[BEGIN, 7, END], [BEGIN, END, PADDING], [
    BEGIN,
    END,
    PADDING,
  ]]);
});

Deno.test("a prompt of more chunks than anybody needs is refused where it is not cut", async () => {
  for (const prompt of [words(1, 75 * 257), `${"1 BREAK ".repeat(256)}1`]) {
    const words = "It is 257 chunks of tokens long; at most 256 are read";
    await assertRejects(() => encodePrompt(tokenizer, prompt, CHUNK), RangeError, words);
    const cut = await encodePrompt(tokenizer, prompt, { ...CHUNK, longPrompt: "truncate" });
    assertEquals(cut.chunks.length, 1);
  }
  assertEquals((await encodePrompt(tokenizer, words(1, 75 * 256), CHUNK)).chunks.length, 256);
});
