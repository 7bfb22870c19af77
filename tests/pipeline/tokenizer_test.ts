import { assertEquals, assertRejects } from "@std/assert";
import { encodePrompt } from "../../pipeline/prompt/chunks.ts";
import { loadTokenizer } from "../../pipeline/tokenizer.ts";
import { ModelFileError, type TokenizerFiles } from "../../weights/mod.ts";

function readText(path: string): string {
  return Deno.readTextFileSync(new URL(`../../${path}`, import.meta.url));
}

function readFiles(folder: string): TokenizerFiles {
  return {
    vocab: readText(`${folder}/vocab.json`),
    merges: readText(`${folder}/merges.txt`),
    config: JSON.parse(readText(`${folder}/tokenizer_config.json`)),
    specialTokens: JSON.parse(readText(`${folder}/special_tokens_map.json`)),
  };
}

const clip = readFiles("fixtures/tokenizer");
const emoji = readFiles("weights/emoji/tokenizer");
const emojiJson = {
  json: readText("weights/emoji/tokenizer/tokenizer.json"),
  config: emoji.config,
  specialTokens: emoji.specialTokens,
};
const clipCases: readonly {
  readonly prompt: string;
  readonly ids: readonly number[];
  readonly untruncated: number;
}[] = JSON.parse(readText("fixtures/tokenizer/clip.json"));

Deno.test("every golden prompt gets CLIP's ids from vocab.json and merges.txt", async () => {
  const tokenizer = await loadTokenizer(clip);
  for (const { prompt, ids, untruncated } of clipCases) {
    const encoding = await encodePrompt(tokenizer, prompt, {});
    assertEquals(encoding.chunks.map((chunk) => chunk.ids), [ids], prompt);
    assertEquals(encoding.count, untruncated - 2, prompt);
    assertEquals(encoding.cut !== "", untruncated > ids.length, prompt);
  }
});

Deno.test("the embedded model's prompts get their ids from both kinds of files", async () => {
  const cases: Record<string, { prompt: string; input_ids: number[] }> = JSON
    .parse(readText("fixtures/emoji/cases.json"));
  for (const files of [emoji, emojiJson]) {
    const tokenizer = await loadTokenizer(files);
    for (const { prompt, input_ids } of Object.values(cases)) {
      assertEquals((await encodePrompt(tokenizer, prompt, {})).chunks[0]!.ids, input_ids, prompt);
    }
  }
});

Deno.test("both kinds of files agree on every golden prompt", async () => {
  const plain = await loadTokenizer(emoji);
  const json = await loadTokenizer(emojiJson);
  for (const { prompt } of clipCases) {
    assertEquals(await encodePrompt(plain, prompt, {}), await encodePrompt(json, prompt, {}));
  }
});

Deno.test("what is cut off is the text after the last token kept", async () => {
  const tokenizer = await loadTokenizer({
    ...clip,
    config: { model_max_length: 7 },
  });
  for (
    const [text, count, cut] of [
      ["", 0, ""],
      ["one two three four five", 5, ""],
      ["one two three four five Six", 6, "Six"],
      ["😀 🍕 É four five  Six, seven", 8, "Six, seven"],
    ] as const
  ) {
    const encoding = await encodePrompt(tokenizer, text, {});
    assertEquals([encoding.count, encoding.cut], [count, cut], text);
    const { ids } = encoding.chunks[0]!;
    assertEquals(ids.length, 7);
    assertEquals(ids.at(-1), 49407);
    assertEquals((await tokenizer.tokenize(text)).map((token) => token.text).join(""), text);
  }
});

Deno.test("the model's files decide length and padding", async () => {
  for (const length of [undefined, 1e30, 77]) {
    const config = { model_max_length: length };
    const tokenizer = await loadTokenizer({ ...clip, config });
    assertEquals(tokenizer.maxLength, 77);
  }
  // Stable Diffusion 2 pads with "!", written as an object.
  const specialTokens = { pad_token: { content: "!" } };
  const tokenizer = await loadTokenizer({ ...clip, specialTokens });
  const { chunks } = await encodePrompt(tokenizer, "a", {});
  assertEquals(chunks[0]!.ids.slice(0, 5), [49406, 320, 49407, 0, 0]);
});

/** The embedded model's tokenizer.json with other merges. */
function withMerges(merges: unknown): string {
  const { model } = JSON.parse(emojiJson.json);
  return `{"model":{"vocab":${JSON.stringify(model.vocab)},"end_of_word_suffix":"</w>","merges":${text(merges)}}}`;
}

/** A list in a list, and so on. */
function nested(depth: number): unknown {
  let list: unknown = [];
  for (let i = 0; i < depth; i++) list = [list];
  return list;
}

/** JSON of lists that may be too deep for JSON.stringify. */
function text(value: unknown): string {
  let depth = 0;
  for (let at = value; Array.isArray(at) && at.length === 1; at = at[0]) depth++;
  return depth < 100 ? JSON.stringify(value) : `${"[".repeat(depth + 1)}${"]".repeat(depth + 1)}`;
}

Deno.test("unusable tokenizer files are named", async () => {
  for (
    const [broken, words] of [
      [{ json: "{}" }, "tokenizer.json: is not a byte-level BPE as CLIP's"],
      [{ json: "{" }, "tokenizer.json: the file is not JSON"],
      [{ json: '{"model": {"type": "Unigram"}}' }, "tokenizer.json: is not a byte-level BPE as CLIP's"],
      [
        { json: '{"model": {"end_of_word_suffix": "</w>", "merges": []}}' },
        "tokenizer.json: has a vocabulary of 0 tokens; there",
      ],
      [{ vocab: "null" }, "vocab.json: is null, not an object"],
      [{ vocab: '{"a": -1}' }, "vocab.json: has the id -1"],
      [{ vocab: '{"a": 1e9}' }, "vocab.json: has the id 1000000000; there must be 1 to 1048576, and ids"],
      [{ vocab: '{"a": "b"}' }, 'vocab.json: has the id "b"'],
      [{ vocab: "{}" }, "vocab.json: has a vocabulary of 0 tokens; there must be 1 to 1048576"],
      [{ merges: "a b c d" }, "tokenizer: its merges are not of pairs of tokens that its vocabulary has"],
      [{ merges: "secret words" }, "tokenizer: its merges are not of pairs of tokens that its vocabulary has"],
      [{ merges: "a\n".repeat(2 ** 20 + 1) }, "merges.txt: has 1048577 merges; at most 1048576 are read"],
      [{ json: withMerges([["a", "b"], 5]) }, "tokenizer.json: merge 2 is 5, not a pair of tokens"],
      [{ json: withMerges([["a", "b", "c"]]) }, "tokenizer.json: merge 1 is a list of 3, not a pair of tokens"],
      [{ json: withMerges([nested(1e5)]) }, "tokenizer.json: merge 1 is a list of 1, not a pair of tokens"],
      [{ json: '{"model": {"vocab": "root:x:0:0", "merges": [], "end_of_word_suffix": "</w>"}}' }, "of 0 tokens"],
      [{ json: "root:x:0:0" }, "tokenizer.json: the file is not JSON"],
      [{ specialTokens: { pad_token: 5 } }, "tokenizer: pad_token is 5, not a text"],
      [{ specialTokens: { bos_token: { content: nested(1e5) } } }, "tokenizer: bos_token is a list of 1, not a text"],
      [{ specialTokens: { eos_token: { content: null } } }, "tokenizer: eos_token is null, not a text"],
      [{ specialTokens: { eos_token: "\x1b]0;x\x07" } }, "tokenizer: lacks the token a text of 6 characters"],
      [{ specialTokens: { eos_token: "__proto__" } }, 'tokenizer: lacks the token "__proto__"'],
      [{ specialTokens: { eos_token: "toString" } }, 'tokenizer: lacks the token "toString"'],
      [{ vocab: "[" }, "vocab.json: the file is not JSON"],
      [{ vocab: '{"a":0}' }, 'tokenizer: lacks the token "<|startoftext|>"'],
      [{ specialTokens: { pad_token: "nowhere" } }, 'padding token "nowhere"'],
      [{ config: { model_max_length: 2 } }, "from 3, got 2"],
      [{ config: { model_max_length: 7.5 } }, "from 3, got 7.5"],
      [{ config: { model_max_length: "77" } }, 'from 3, got "77"'],
    ] as const
  ) {
    await assertRejects(
      () => loadTokenizer({ ...clip, ...broken }),
      ModelFileError,
      words,
    );
  }
  await assertRejects(
    () => loadTokenizer({ config: {}, specialTokens: {} }),
    ModelFileError,
    "neither tokenizer.json nor vocab.json with merges.txt is there",
  );
});

Deno.test("a file's own rules are not followed: texts do not grow, and no pattern of a stranger's searches them", async () => {
  const json = JSON.parse(emojiJson.json);
  const grow = { type: "Replace", pattern: { Regex: "." }, content: "a".repeat(1000) };
  json.normalizer = { type: "Sequence", normalizers: [grow, grow, grow] };
  json.pre_tokenizer = { type: "Split", pattern: { Regex: "(a+)+$" }, behavior: "Removed", invert: true };
  const [hostile, plain] = [
    await loadTokenizer({ ...emojiJson, json: JSON.stringify(json) }),
    await loadTokenizer(emojiJson),
  ];
  const text = "a red apple ".repeat(20);
  assertEquals(await hostile.tokenize(text), await plain.tokenize(text));
});

Deno.test("words of a vocabulary that every object inherits are words", async () => {
  const words = ["<|startoftext|>", "<|endoftext|>", "__proto__", "constructor", "toString", "a</w>"];
  const vocab = `{${words.map((word, id) => `"${word}":${id}`)}}`;
  const load = (bos_token?: string) => loadTokenizer({ vocab, merges: "", config: {}, specialTokens: { bos_token } });
  const tokenizer = await load();
  assertEquals([tokenizer.begin, (await tokenizer.tokenize("a")).map(({ id }) => id)], [0, [5]]);
  for (const [id, word] of words.entries()) assertEquals((await load(word)).begin, id);
});
