import { assertEquals, assertThrows } from "@std/assert";
import { parsePrompt } from "../../../pipeline/prompt/grammar.ts";

/** A prompt and the weighted texts of its only section. */
type Case = readonly [prompt: string, texts: readonly (readonly [text: string, weight: number])[]];

/** The examples that AUTOMATIC1111 documents its grammar with (`modules/prompt_parser.py`). */
const PUBLISHED: readonly Case[] = [
  ["normal text", [["normal text", 1.0]]],
  ["an (important) word", [["an ", 1.0], ["important", 1.1], [" word", 1.0]]],
  ["(unbalanced", [["unbalanced", 1.1]]],
  ["\\(literal\\]", [["(literal]", 1.0]]],
  ["(unnecessary)(parens)", [["unnecessaryparens", 1.1]]],
  ["a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", [
    ["a ", 1.0],
    ["house", 1.5730000000000004],
    [" ", 1.1],
    ["on", 1.0],
    [" a ", 1.1],
    ["hill", 0.55],
    [", sun, ", 1.1],
    ["sky", 1.4641000000000006],
    [".", 1.1],
  ]],
];

const OTHERS: readonly Case[] = [
  ["", []],
  ["()", []],
  ["(x:3.12)", [["x", 3.12]]],
  ["(x: 1.5 )", [["x", 1.5]]],
  ["(x:.5)(y:-1)(z:+2)", [["x", 0.5], ["y", -1], ["z", 2]]],
  ["[x]", [["x", 1 / 1.1]]],
  ["[[x]", [["x", 1 / 1.1 / 1.1]]],
  ["[x:1.5]", [["x:1.5", 1 / 1.1]]], // A weight needs round brackets,
  ["x:1.5)", [["x:1.5)", 1]]], // open ones,
  ["(x:1.2.3) y", [["x:1.2.3", 1.1], [" y", 1]]], // and a number.
  ["(x:", [["x:", 1.1]]],
  ["x) y]", [["x) y]", 1]]],
  ["(a [b) c]", [["a ", 1.1], ["b", 1.1 * (1 / 1.1)], [" c", 1 / 1.1]]],
  ["[a:b:0.5]", [["a:b:0.5", 1 / 1.1]]], // No change of prompt at half the steps.
  ["\\[x\\] \\\\ C:\\x \\", [["[x] \\ C:x ", 1]]],
  ["12:30, 😀(é)", [["12:30, 😀", 1], ["é", 1.1]]],
];

Deno.test("the grammar reads the published examples", () => {
  for (const [prompt, texts] of PUBLISHED) assertEquals(parsePrompt(prompt), [toObjects(texts)], prompt);
});

Deno.test("weights need a bracket and a number, all else is text", () => {
  for (const [prompt, texts] of OTHERS) assertEquals(parsePrompt(prompt), [toObjects(texts)], prompt);
});

Deno.test("weights that nobody can mean are refused", () => {
  assertEquals(parsePrompt("(x:100) (y:-100)").length, 1);
  for (const [prompt, weight] of [["(x:100.5)", 100.5], ["((x:-20):6)", -120], [`(x:${"9".repeat(400)})`, Infinity]]) {
    assertThrows(() => parsePrompt(`${prompt}`), RangeError, `The weight of "x" is ${weight}, want -100 to 100`);
  }
});

Deno.test("BREAK, a word of its own, begins a section, wherever it stands", () => {
  const sections = (prompt: string) =>
    parsePrompt(prompt).map((texts) => texts.map(({ text, weight }) => [text, weight]));
  assertEquals(sections("a cat BREAK a dog"), [[["a cat", 1]], [["a dog", 1]]]);
  assertEquals(sections("(a\nBREAK\n\nb:1.5) c"), [[["a", 1.5]], [["b", 1.5], [" c", 1]]]);
  assertEquals(sections("BREAK a BREAK BREAK b BREAK"), [[], [["a", 1]], [], [["b", 1]], []]);
  assertEquals(sections("a,BREAK:b"), [[["a,", 1]], [[":b", 1]]]);
  for (const prompt of ["break", "BREAKS", "OUTBREAK", "BREAK_", "éBREAK", "BREAK2"]) {
    assertEquals(sections(prompt), [[[prompt, 1]]]);
  }
});

Deno.test("a text of half a megabyte is read at once, whatever it repeats", () => {
  const texts = [
    "(a) ",
    "[a b]",
    ") ",
    "] ",
    "\\",
    ":",
    ": ",
    ":1 ",
    "BREAK ",
    "a BREAK",
    "(a:1)",
    "BREAK(a)",
    " ",
    "9",
    ".",
  ];
  for (const text of texts) {
    const prompt = `(x:${text.repeat(2 ** 19 / text.length)}x`;
    assertEquals(parsePrompt(prompt).length, prompt.split(/\bBREAK\b/).length, text);
  }
});

Deno.test("brackets that are open weigh what follows, so there may be a hundred of them", () => {
  for (const bracket of ["(", "[", "(["]) {
    const open = (count: number) => bracket.repeat(count / bracket.length);
    assertEquals(parsePrompt(open(100)), [[]]);
    for (const text of ["", "a ".repeat(1e5)]) {
      assertThrows(() => parsePrompt(open(102) + text), RangeError, "More than 100 brackets are open");
    }
  }
  assertEquals(parsePrompt("()".repeat(1e5)), [[]]);
});

Deno.test("a message about a long text is short", () => {
  const { message } = assertThrows(() => parsePrompt(`(${"x".repeat(1e5)}:101)`), RangeError);
  assertEquals(message, `The weight of "${"x".repeat(80)}" and 99920 characters more is 101, want -100 to 100`);
});

function toObjects(texts: Case[1]) {
  return texts.map(([text, weight]) => ({ text, weight }));
}
