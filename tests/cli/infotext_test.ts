import { assertEquals } from "@std/assert";
import { formatInfotext, type Infotext, parseInfotext } from "../../cli/infotext.ts";

/** What the web UI writes, from its own documentation and source, and what it reads of it. */
const vectors:
  readonly (readonly [text: string, prompt: string, negative: string, settings: Record<string, string>])[] = [
    [
      "girl with an artist's beret, ((eyeshadow)), (coquettish), detailed\n" +
      "Negative prompt: ugly, fat, (((deformed))), [blurry], bad anatomy\n" +
      "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b",
      "girl with an artist's beret, ((eyeshadow)), (coquettish), detailed",
      "ugly, fat, (((deformed))), [blurry], bad anatomy",
      {
        "Steps": "20",
        "Sampler": "Euler a",
        "CFG scale": "7",
        "Seed": "965400086",
        "Size": "512x512",
        "Model hash": "45dee52b",
      },
    ],
    [
      "two\nlines\nNegative prompt: three\nmore\nlines\nSteps: 1, Sampler: DPM++ 2M, Schedule type: Karras, " +
      'CFG scale: 7.5, Seed: 1, Size: 64x64, Lora hashes: "a: 1, b: 2", Wildcard: "say \\"hi\\"\\n", Version: v1.10.1',
      "two\nlines",
      "three\nmore\nlines",
      {
        "Steps": "1",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "7.5",
        "Seed": "1",
        "Size": "64x64",
        "Lora hashes": "a: 1, b: 2",
        "Wildcard": 'say "hi"\n',
        "Version": "v1.10.1",
      },
    ],
  ];

Deno.test("the web UI's texts are read, and written again to the letter", () => {
  for (const [text, prompt, negativePrompt, settings] of vectors) {
    const read = parseInfotext(text);
    assertEquals([read.prompt, read.negativePrompt, Object.fromEntries(read.settings)], [
      prompt,
      negativePrompt,
      settings,
    ]);
    // A text with quotation marks alone is written without quotes around it, and read as it is.
    assertEquals(formatInfotext(read), text);
  }
});

Deno.test("a last line with fewer than three settings belongs to the prompt", () => {
  for (const text of ["a cat", "a cat\nnote: this, time: now", "Steps: 3, Seed: 4"]) {
    const { prompt, negativePrompt, settings } = parseInfotext(text);
    assertEquals([prompt, negativePrompt, settings.size], [text, "", 0]);
  }
  const negative = parseInfotext("Negative prompt:\nblurry\nSteps: 1, Seed: 2, Size: 8x8");
  assertEquals([negative.prompt, negative.negativePrompt, negative.settings.size], ["", "blurry", 3]);
});

Deno.test("values with commas, colons and line ends are quoted, others are not; no negative prompt, no line", () => {
  const settings = new Map([["Model", "a, b"], ["VAE", "a:b"], ["Note", "two\nlines"], ["Tool", 'the "one"']]);
  const told: Infotext = { prompt: "日本 🍎", negativePrompt: "", settings };
  const text = formatInfotext(told);
  assertEquals(text, '日本 🍎\nModel: "a, b", VAE: "a:b", Note: "two\\nlines", Tool: the "one"');
  assertEquals(parseInfotext(text), told);
});

Deno.test("the settings of stable-diffusion.cpp end before its JSON", () => {
  const { prompt, settings } = parseInfotext(
    "a cat\nSteps: 20, CFG scale: 7.000000, Guidance: 3.500000, Eta: 0.000000, Seed: 42, Size: 512x512, " +
      "Model: sd-v1-4.ckpt, RNG: cuda, Sampler: dpm++2m karras, Version: stable-diffusion.cpp, " +
      'SDCPP: {"schema":"sdcpp.image.params/v1","seed":7,"Steps":{"Seed":1}}',
  );
  assertEquals(prompt, "a cat");
  assertEquals([settings.get("Seed"), settings.get("Sampler"), settings.get("Version"), settings.size], [
    "42",
    "dpm++2m karras",
    "stable-diffusion.cpp",
    10,
  ]);
});
