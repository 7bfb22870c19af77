import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { checkModel } from "../../pipeline/check_model.ts";
import { complete } from "../../pipeline/complete.ts";
import { families } from "../../pipeline/families/table.ts";
import { describeFiles, openModel, tokenizerOf } from "../../pipeline/model.ts";
import { type Request, RequestError } from "../../pipeline/request.ts";
import { type JsonObject, type ModelConfig, ModelFileError, sd14Config } from "../../weights/mod.ts";
import { openTinyModel } from "../tiny_model.ts";
import { openTinyFiles, type TinyName } from "../weights/tiny_files.ts";
import { goldenInit } from "./golden_init.ts";

/** What sets the UNet of Stable Diffusion XL apart. */
const XL = {
  addition_embed_type: "text_time",
  cross_attention_dim: 2048,
  use_linear_projection: true,
  sample_size: 128,
};

/** What the published configurations of each family say beside those of Stable Diffusion 1.4. */
const PUBLISHED: readonly (readonly [family: string, unet: JsonObject, scheduler: JsonObject])[] = [
  ["SD 1.x", {}, {}],
  ["SD 2.x", { use_linear_projection: true, cross_attention_dim: 1024 }, {}],
  [
    "SD 2.x",
    { use_linear_projection: true, cross_attention_dim: 1024, sample_size: 96 },
    { _class_name: "DDIMScheduler", prediction_type: "v_prediction", timestep_spacing: "trailing" },
  ],
  [
    "SD-Turbo",
    { use_linear_projection: true, cross_attention_dim: 1024 },
    { _class_name: "EulerDiscreteScheduler", prediction_type: "epsilon", timestep_spacing: "trailing" },
  ],
  ["SDXL", XL, { _class_name: "EulerDiscreteScheduler", timestep_spacing: "leading" }],
  ["SDXL-Turbo", { ...XL, sample_size: 64 }, {
    _class_name: "EulerAncestralDiscreteScheduler",
    timestep_spacing: "trailing",
  }],
  ["SDXL, few steps", XL, { _class_name: "EulerDiscreteScheduler", timestep_spacing: "trailing" }],
  ["SDXL, few steps", XL, { _class_name: "DDIMScheduler", timestep_spacing: "trailing" }],
  ["SDXL, one step", XL, {
    _class_name: "EulerDiscreteScheduler",
    prediction_type: "sample",
    timestep_spacing: "trailing",
  }],
  ["SDXL", XL, {
    _class_name: "EulerDiscreteScheduler",
    prediction_type: "v_prediction",
    timestep_spacing: "trailing",
  }],
  ["LCM", { time_cond_proj_dim: 256 }, { _class_name: "LCMScheduler" }],
  ["inpainting", { in_channels: 9 }, {}],
  ["inpainting", { in_channels: 9, use_linear_projection: true, cross_attention_dim: 1024 }, {}],
];

Deno.test("the configuration tells the family, and with it what a model wants", () => {
  const wants: Readonly<Record<string, readonly [steps: number, guidance: number]>> = {
    "SD-Turbo": [1, 1],
    "SDXL-Turbo": [1, 1],
    "SDXL, few steps": [4, 1],
    "SDXL, one step": [1, 1],
    SDXL: [30, 5],
    LCM: [4, 8.5],
  };
  for (const [name, unet, scheduler] of PUBLISHED) {
    const config: ModelConfig = {
      ...sd14Config,
      unet: { ...sd14Config.unet, ...unet },
      scheduler: { ...sd14Config.scheduler, ...scheduler },
    };
    const { family, defaults } = describeFiles({ ...openTinyFiles(), config });
    assertEquals(family.name, name);
    const [steps, guidance] = wants[name] ?? [20, 7.5];
    const side = 8 * (config.unet.sample_size as number);
    assertEquals(defaults, { steps, guidance, longPrompt: "chunk", width: side, height: side });
  }
  assertEquals([...new Set(PUBLISHED.map(([name]) => name))].sort(), families.map(({ name }) => name).sort());
});

Deno.test("a model's own settings go before its family's, and its UNet tells its size", () => {
  const files = openTinyFiles();
  const { defaults } = describeFiles({ ...files, settings: { steps: 4, guidance: 0, height: 320, knows: "foxes" } });
  assertEquals(defaults, { steps: 4, guidance: 0, longPrompt: "chunk", width: 128, height: 320, knows: "foxes" });
  for (const sample_size of [undefined, 0, "large"]) {
    const config = { ...files.config, unet: { ...files.config.unet, sample_size } };
    assertThrows(() => describeFiles({ ...files, config }), ModelFileError, "sample_size is");
  }
});

Deno.test("a model has one tokenizer, however often it is asked for", async () => {
  using model = openModel("emoji");
  assert(await tokenizerOf(model) === await tokenizerOf(model));
});

Deno.test("parts that do not fit the family are refused", () => {
  using tiny = openTinyModel("tiny-inpaint");
  const unet = { ...tiny.config.unet, in_channels: 8 };
  const config = { ...tiny.config, unet };
  assertThrows(() => checkModel({ ...tiny, config }), ModelFileError, "maps 8 channels to 4");
  const { family } = describeFiles({ ...tiny, config });
  assertThrows(() => checkModel({ ...tiny, config, family }), ModelFileError, "maps 8 channels to 4, but the VAE's");
});

const REQUEST: Request = {
  prompt: "a fox",
  negativePrompt: "",
  seed: 1n,
  steps: 4,
  guidance: 5,
  width: 128,
  height: 128,
  rng: "cpu",
};

const INIT = goldenInit({ kind: "inpaint", width: 128, height: 128, strength: 1 })!;
const { mask: _, ...WITHOUT_MASK } = INIT;

const REFUSED: readonly (readonly [TinyName, Partial<Request>, setting: keyof Request, words: string])[] = [
  ...[100, 0, -8, 4104, 1e9, 1e300, NaN, Infinity].flatMap((side) =>
    (["width", "height"] as const).map((setting) =>
      ["tiny-sd1", { [setting]: side }, setting, `${setting} must be a multiple of 8 up to 4096`] as const
    )
  ),
  ...[0, 1.5, -1, 1001, 1e300, NaN, Infinity].map((steps) =>
    ["tiny-sd1", { steps }, "steps", "must be a whole number from 1 to 1000"] as const
  ),
  ...[-1, 1000.5, 1e300, NaN, Infinity, -Infinity].map((guidance) =>
    ["tiny-sd1", { guidance }, "guidance", "must be a number from 0 to 1000"] as const
  ),
  ...[-0.1, 1.1, NaN, Infinity].flatMap((value) =>
    (["guidanceRescale", "eta"] as const).map((setting) =>
      ["tiny-sd1", { [setting]: value }, setting, "must be a number from 0 to 1"] as const
    )
  ),
  ...[0, -1, 1.5, NaN, 65_537].map((originalWidth) =>
    ["tiny-sdxl", { originalWidth }, "originalWidth", "must be a whole number from 1 to 65536"] as const
  ),
  ...[-1, 1.5, NaN, 65_537].map((cropTop) =>
    ["tiny-sdxl", { cropTop }, "cropTop", "must be a whole number from 0 to 65536"] as const
  ),
  ["tiny-sd1", { cropLeft: 0 }, "cropLeft", "only models of Stable Diffusion XL are told it"],
  ...[-1n, 2n ** 64n].map((seed) => ["tiny-sd1", { seed }, "seed", "a whole number from 0 to 2^64 - 1"] as const),
  ...[0, -1, 1.1, NaN, Infinity].map((strength) =>
    ["tiny-sd1", { init: { ...INIT, strength } }, "init", `strength ${strength} is not above 0 and up to 1`] as const
  ),
  ...(["image", "mask"] as const).flatMap((which) =>
    [{ pixels: new Uint8Array(5) }, { width: 1e9 }, { height: 0.5 }, { width: NaN }, { width: -128, height: -128 }].map(
      (
        change,
      ) =>
        ["tiny-sd1", { init: { ...INIT, [which]: { ...INIT.image, ...change } } }, "init", "pixels are not"] as const,
    )
  ),
  ...(["prompt", "negativePrompt"] as const).map((setting) =>
    ["tiny-sd1", { [setting]: "a".repeat(2 ** 20 + 1) }, setting, "has 1048577 characters; at most 1048576"] as const
  ),
  ["tiny-sd1", { steps: 1000 }, "steps", "Timestep 1000 is not one of"],
  ...[0, 1.5, NaN, 4].map((clipSkip) =>
    ["tiny-sd1", { clipSkip }, "clipSkip", `the text encoder has layers 1 to 3, not ${clipSkip}`] as const
  ),
  ["tiny-sd1", { scheduler: "eulr" }, "scheduler", "eulr"],
  ["tiny-sd1", { scheduler: "euler", eta: 0.5 }, "eta", "eta"],
  ["tiny-sd1", { prompt: "(fox:101)", promptSyntax: "a1111" }, "prompt", "weight"],
  ["tiny-sd1", { negativePrompt: "(fox:101)", promptSyntax: "a1111" }, "negativePrompt", "weight"],
  ["tiny-sd1", { init: { ...INIT, strength: 0.01 } }, "init", "strength 0.01 runs no step of 4; use at least 0.25"],
  ["tiny-inpaint", {}, "init", "needs an init image and a mask"],
  ["tiny-inpaint", { init: WITHOUT_MASK }, "init", "needs an init image and a mask"],
];

for (const [name, change, setting, words] of REFUSED) {
  Deno.test(`${name} refuses ${setting} ${`${change[setting]}`.slice(0, 20)}: ${words}`, async () => {
    using model = openTinyModel(name);
    const error = await assertRejects(() => complete(model, { ...REQUEST, ...change }), RequestError, words);
    assertEquals((error as RequestError).setting, setting);
  });
}

Deno.test("a completed request has its schedule and its samples' chunks, and says what it will not heed", async () => {
  const samples = async (name: TinyName, change: Partial<Request>) => {
    using model = openTinyModel(name);
    const { schedule, prompts, notices } = await complete(model, { ...REQUEST, ...change });
    return [schedule.steps.length, prompts[0]!.length, notices.join("; ")];
  };
  const init = { init: { ...INIT, strength: 0.5 } };
  assertEquals(await samples("tiny-sd1", { scheduler: "ddim" }), [4, 2, ""]);
  assertEquals(await samples("tiny-sd1", { scheduler: "ddim", ...init }), [2, 2, ""]);
  assertEquals(await samples("tiny-sd1", { scheduler: "heun", guidance: 1 }), [7, 1, ""]);
  assertEquals(await samples("tiny-sd1", { scheduler: "ddim", guidance: 1, negativePrompt: "dogs" }), [
    4,
    1,
    "The negative prompt has no effect: guidance is 1",
  ]);
  assertEquals(await samples("tiny-lcm", { scheduler: "lcm", negativePrompt: "dogs" }), [
    4,
    1,
    "The negative prompt has no effect: models of the family LCM have none",
  ]);
  const long = { prompt: "fox ".repeat(80), width: 256 };
  assertEquals(
    (await samples("tiny-sd1", { scheduler: "ddim", ...long, ...init }))[2],
    [
      "The init image of 128x128 is stretched to 256x128",
      'The prompt has 80 tokens and the model reads 75; cut off: "fox fox fox fox fox"',
    ].join("; "),
  );
  const endless = await samples("tiny-sd1", { prompt: "fox ".repeat(25_000), scheduler: "ddim" });
  const cut = `"${"fox ".repeat(20)}" and 99619 characters more`;
  assertEquals(endless[2], `The prompt has 25000 tokens and the model reads 75; cut off: ${cut}`);
});

Deno.test("a tokenizer that does not fit the text encoder is refused", async () => {
  const files = openTinyFiles();
  const text = files.config.text_encoder;
  const refusals: readonly (readonly [Partial<typeof files>, string])[] = [
    [{ tokenizer: { ...files.tokenizer, config: { model_max_length: 4000 } } }, "makes 4000 tokens of a prompt; the"],
    [{ config: { ...files.config, text_encoder: { ...text, vocab_size: 49407 } } }, "has a token 49407; the text"],
  ];
  for (const [change, words] of refusals) {
    const model = describeFiles({ ...files, tokenizer: { ...files.tokenizer }, ...change });
    await assertRejects(() => complete(model, REQUEST), ModelFileError, words);
  }
});

Deno.test("a size that no picture of the model can have is refused", () => {
  const files = openTinyFiles();
  for (const width of [7, 4104]) {
    const words = `width is ${width}, not a multiple of 8 up to 4096`;
    assertThrows(() => describeFiles({ ...files, settings: { width } }), ModelFileError, words);
  }
});
