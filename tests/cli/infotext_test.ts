import { assertEquals, assertThrows } from "@std/assert";
import { formatInfotext, type Infotext, parseInfotext, readForeign } from "../../cli/infotext.ts";
import { nearestName } from "../../pipeline/schedulers/mod.ts";

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

Deno.test("a model's own configuration has the name of its class and variant", () => {
  for (
    const [config, expected] of [
      [{ _class_name: "PNDMScheduler", steps_offset: 1 }, "pndm"],
      [{ _class_name: "DDIMScheduler", steps_offset: 1, set_alpha_to_one: false, clip_sample: false }, "ddim"],
      [{ _class_name: "DDIMScheduler", timestep_spacing: "trailing", clip_sample: false }, "ddim-trailing"],
      [{ _class_name: "EulerDiscreteScheduler", use_karras_sigmas: true }, "euler-karras"],
      [{ _class_name: "EulerDiscreteScheduler", timestep_spacing: "leading" }, "euler"],
      [{ _class_name: "DPMSolverMultistepScheduler", algorithm_type: "sde-dpmsolver++" }, "dpmpp-2m-sde"],
    ] as const
  ) {
    assertEquals(nearestName(config), expected);
  }
});

Deno.test("what another tool's picture was made with, as far as it can be made again", () => {
  const recipe = readForeign(parseInfotext(
    "a (cat:1.2)\nNegative prompt: dog\nSteps: 30, Sampler: DPM++ SDE, Schedule type: Karras, CFG scale: 6.5, " +
      "Seed: 18446744073709551615, Size: 512x768, Model hash: 45dee52b, Model: mine, Hires upscale: 2, Version: v1.10.1",
  ));
  assertEquals(recipe, {
    prompt: "a (cat:1.2)",
    options: {
      "negative-prompt": "dog",
      "prompt-syntax": "a1111",
      "long-prompt": "chunk",
      "clip-skip": "1",
      "steps": "30",
      "guidance": "6.5",
      "seed": "18446744073709551615",
      "width": "512",
      "height": "768",
      "rng": "cuda",
    },
    software: "v1.10.1",
    lost: ["Sampler: DPM++ SDE, Schedule type: Karras", "Model: mine (--model says where it is)", "Hires upscale: 2"],
  });
  const old = readForeign(parseInfotext("x\nSteps: 1, Seed: 1, Sampler: DPM++ 2M, CFG scale: 7"));
  assertEquals(old.options.scheduler, "dpmpp-2m");
  const eta = readForeign(
    parseInfotext("x\nSteps: 1, Seed: 1, Sampler: DDIM, Schedule type: Automatic, Eta DDIM: 0.5"),
  );
  assertEquals([eta.options.scheduler, eta.options.eta], ["ddim", "0.5"]);
  const rescale = readForeign(parseInfotext("x\nSteps: 1, Seed: 1, CFG scale: 7, CFG Rescale phi: 0.7"));
  assertEquals([rescale.options["guidance-rescale"], rescale.lost], ["0.7", []]);
  const rng = (name: string) => readForeign(parseInfotext(`x\nSteps: 1, Seed: 1, RNG: ${name}`)).options.rng;
  assertEquals(["CPU", "NV", "GPU", "cuda", "cpu"].map(rng), ["cpu", "cuda", "cuda", "cuda", "cpu"]);
  assertEquals(readForeign(parseInfotext("x\nSteps: 1, Seed: 1, RNG: std_default")).lost, ["RNG: std_default"]);
});

Deno.test("a megabyte is read in time that is linear: a quadratic search would take half an hour", () => {
  const units = ["a ", "a", 'ab: "', 'ab: "\\', 'ab:"x\\", ', " ", "- ", "\n", "Negative prompt:\n", "aa:", "a:,"];
  for (const unit of units) {
    const text = unit.repeat(2 ** 20 / unit.length);
    if (unit.startsWith('ab:"')) assertThrows(() => parseInfotext(text), RangeError, "more than 512 settings");
    else parseInfotext(text);
  }
});
