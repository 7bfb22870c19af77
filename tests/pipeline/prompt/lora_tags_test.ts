import { assertEquals, assertThrows } from "@std/assert";
import { readLoraTags, withoutLoraTags } from "../../../pipeline/prompt/lora_tags.ts";

Deno.test("LoRAs are read from a prompt, in its order, and leave it", () => {
  const prompt = "a <lora:add-detail:0.8>cat<lora:my lora v1.0>, (big:1.2) <lyco:x:-.5> <lora:zero:0>";
  assertEquals(readLoraTags(prompt), [
    { name: "add-detail", weight: 0.8 },
    { name: "my lora v1.0", weight: 1 },
    { name: "x", weight: -0.5 },
    { name: "zero", weight: 0 },
  ]);
  assertEquals(withoutLoraTags(prompt), "a cat, (big:1.2)  ");
});

Deno.test("what is no tag is text", () => {
  for (const prompt of ["a cat", "<lora>", "<lora x:1>", "a < lora:x:1>", "<lora:x", "<Lora:x:1>", "<hypernet:x:1>"]) {
    assertEquals([readLoraTags(prompt), withoutLoraTags(prompt)], [[], prompt]);
  }
});

Deno.test("tags that say no name or no weight are refused", () => {
  for (const tag of ["<lora:>", "<lora: :1>"]) assertThrows(() => readLoraTags(tag), RangeError, "names no LoRA");
  for (const weight of ["", "x", "NaN", "1e9", "101", "0.5:0.5", "te=1", "0x1"]) {
    assertThrows(() => readLoraTags(`<lora:a:${weight}>`), RangeError, "is not one number from -100 to 100");
  }
});

Deno.test("half a megabyte of beginnings of tags is read at once", () => {
  assertEquals(readLoraTags("<lora:a:".repeat(2 ** 16)), []);
});
