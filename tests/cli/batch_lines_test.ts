import { assertEquals, assertThrows } from "@std/assert";
import { readLine, readLines } from "../../cli/batch.ts";
import { UsageError } from "../../cli/errors.ts";

Deno.test("a line is a prompt or an object, empty lines and comments are neither", () => {
  const text =
    '\uFEFFa cat\r\n\n  # a comment\n{"prompt": " two\\nlines ", "steps": 3, "seed": 18446744073709551615}\n' +
    '{"prompt":"#1","negative-prompt":"","seed":"7","guidance":1.50}';
  assertEquals(readLines(text).map((line) => ({ number: line.number, ...readLine(line) })), [
    { number: 1, prompt: "a cat", options: {} },
    { number: 4, prompt: " two\nlines ", options: { steps: "3", seed: "18446744073709551615" } },
    { number: 5, prompt: "#1", options: { "negative-prompt": "", seed: "7", guidance: "1.50" } },
  ]);
  assertEquals(readLines("\n \t\n# nothing\n"), []);
  const quoted = '{"prompt": "a \\"seed\\": \\\\", "seed": "\\"prompt\\":"}';
  assertEquals(readLine({ text: quoted }), { prompt: 'a "seed": \\', options: { seed: '"prompt":' } });
  assertEquals(readLine({ text: '{"prompt": ""}' }), { prompt: "", options: {} });
});

Deno.test("what is wrong with a line is said in words", () => {
  for (
    const [line, words] of [
      ['{"prompt": "cat"', "it is not JSON: "],
      ['{"seed": 7}', 'it needs "prompt"'],
      ['{"prompt": 7}', 'it needs "prompt"'],
      ['{"prompt": "cat", "step": 3}', "step is not an option of a picture: did you mean steps?"],
      ['{"prompt": "cat", "negativePrompt": "dog"}', "did you mean negative-prompt?"],
      ['{"prompt": "cat", "json": true}', "json is not an option of a picture"],
      ['{"prompt": "cat", "__proto__": 1}', "__proto__ is not an option of a picture"],
      ['{"prompt": "cat", "seed": 1, "se\\u0065d" : 2}', "seed is given twice: give it once"],
      ['{"prompt": "cat", "prompt": "dog"}', "prompt is given twice: give it once"],
      ['{"prompt": "cat", "steps": null}', "steps must be a text or a number"],
      ['{"prompt": "cat", "steps": [3]}', "steps must be a text or a number"],
      ['{"prompt": "cat", "steps": {"source": "3"}}', "steps must be a text or a number"],
    ] as const
  ) {
    assertThrows(() => readLine({ text: line }), UsageError, words);
  }
});
