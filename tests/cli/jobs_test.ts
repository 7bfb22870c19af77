import { assert, assertEquals } from "@std/assert";
import { freeName, slug } from "../../cli/jobs.ts";

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

Deno.test("the longest name fits a file system, the temporary name included", () => {
  const name = freeName(`${slug("𠀀".repeat(100))}-${2n ** 64n - 1n}`, (file) => !file.endsWith("-99.png"));
  const partial = `.${name}.12345678.denoise.partial`;
  assert(new TextEncoder().encode(partial).length <= 255);
});
