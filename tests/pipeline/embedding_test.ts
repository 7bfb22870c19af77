import { assert, assertEquals, assertRejects } from "@std/assert";
import { Gpu } from "../../kernels/mod.ts";
import { complete, type Embedding, openEmbedding, Pipeline, type Request, RequestError } from "../../pipeline/mod.ts";
import type { Model } from "../../pipeline/model.ts";
import { embedTokens, type TextWeights } from "../../pipeline/nets/clip.ts";
import { readTextConfig } from "../../pipeline/nets/config.ts";
import { toFloat32 } from "../../weights/mod.ts";
import { readGolden } from "../golden.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { storeTensors } from "../weights/safetensors_bytes.ts";
import { draw } from "./drawn.ts";
import { ALLOWED, assertStage, psnr, toPixels } from "./stages.ts";

/** Decibels that a run in float32 must reach. */
const QUALITY = 45;

const FOLDER = new URL("../../fixtures/textual-inversion/", import.meta.url).pathname;

const REQUEST: Request = {
  prompt: "a photo of <thing> on grass",
  negativePrompt: "",
  seed: 51n,
  steps: 4,
  guidance: 7.5,
  width: 128,
  height: 128,
  scheduler: "ddim",
  rng: "cpu",
};

function thing(model: Model, word = "<thing>"): Embedding {
  return { name: "thing.safetensors", word, file: openEmbedding(`${FOLDER}thing.safetensors`, model) };
}

/** What diffusers drew: a picture of three vectors, and one of Stable Diffusion XL's with two for each text encoder. */
const RUNS = {
  "tiny-sd1": { cases: "cases.safetensors", prefix: "ti.", inversion: "thing.safetensors", request: REQUEST },
  "tiny-sdxl": {
    cases: "sdxl-cases.safetensors",
    prefix: "",
    inversion: "sdxl.safetensors",
    request: {
      ...REQUEST,
      prompt: "a <thing> fox, <thing>",
      negativePrompt: "no <thing>",
      seed: 61n,
      steps: 3,
      guidance: 5,
      scheduler: "euler",
    },
  },
} as const;

for (const backend of BACKENDS) {
  // The host adds positions to the vectors before either backend sees them.
  const names = backend.name === "texture" ? ["tiny-sd1", "tiny-sdxl"] as const : ["tiny-sd1"] as const;
  for (const name of names) {
    const { cases, prefix, inversion, request } = RUNS[name];
    Deno.test(`${name} with a textual inversion: diffusers' picture, ${backend.name} kernels`, async () => {
      const golden = readGolden(`fixtures/textual-inversion/${cases}`);
      await using gpu = await Gpu.open();
      using model = openTinyModel(name);
      const backends = { exact: backend, half: backend };
      await using pipeline = await Pipeline.load(gpu, model, { backends, precision: "f32" });
      const embeddings = [{ name, word: "<thing>", file: openEmbedding(FOLDER + inversion, model) }];
      const { pixels, latents } = await draw(pipeline, { ...request, embeddings });
      for (const [stage, latent] of [["latents.first", latents[0]], ["latents.last", latents.at(-1)]] as const) {
        assertStage(stage, latent!, golden.get(prefix + stage)!.data, ALLOWED.unet);
      }
      const image = golden.get(`${prefix}image`)!;
      // The one is of 0 to 1, the other of bytes.
      const want = prefix === "" ? Uint8Array.from(image.data) : toPixels(image);
      const quality = psnr(pixels, want);
      assert(quality >= QUALITY, `${name} reaches ${quality} dB`);
    });
  }
}

const TABLE = "embeddings.token_embedding.weight";

/** Where a text encoder's rows for ids, and for positions, come from: all that embeds tokens. */
function textWeights(model: Model, part: "text_encoder" | "text_encoder_2"): TextWeights {
  const source = model.parts[part]!;
  const config = readTextConfig(model.config[part]!, part);
  const values = (name: string) => toFloat32(source.tensors.get(name)!, source.read(name));
  const [table, positions] = [values(TABLE), values("embeddings.position_embedding.weight")];
  const { width } = config;
  return {
    config,
    positions,
    tokens: (id) => table.subarray(id * width, (id + 1) * width),
    layers: [],
    finalNorm: null!,
  };
}

/** A textual inversion whose vectors are the rows of `text`'s own tokens, written to a file and read again. */
async function inversionOf(model: Model, text: string, word: string): Promise<Embedding> {
  const { prompts } = await complete(model, { ...REQUEST, prompt: text });
  const parts = (["text_encoder", "text_encoder_2"] as const).filter((part) => model.parts[part]);
  const tensors = parts.map((part, i) => {
    const { tokens, config } = textWeights(model, part);
    const rows = prompts[i]!.at(-1)![0]!.tokens.map(({ id }) => tokens(id));
    const bytes = new Uint8Array(Float32Array.from(rows.flatMap((row) => [...row])).buffer);
    const name = parts.length === 1 ? "emb_params" : ["clip_l", "clip_g"][i]!;
    return [name, { dtype: "F32", shape: [rows.length, config.width], bytes }] as const;
  });
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  await Deno.writeFile(path, storeTensors(new Map(tensors)));
  try {
    return { name: path, word, file: openEmbedding(path, model) };
  } finally {
    await Deno.remove(path);
  }
}

/** What the text encoders of a model read of each sample, and the weights of its tokens. */
async function readingOf(model: Model, request: Request) {
  const { prompts } = await complete(model, request);
  return prompts.map((samples, i) => {
    const weights = textWeights(model, i === 0 ? "text_encoder" : "text_encoder_2");
    return samples.map((chunks) => ({
      rows: embedTokens(weights, chunks.map(({ ids, tokens }) => ids.map((id, at) => tokens[at - 1]?.vector ?? id))),
      weights: chunks.map(({ weights }) => weights),
      ends: chunks.map(({ tokens }) => tokens.length),
    }));
  });
}

for (const name of ["tiny-sd1", "tiny-sd2", "tiny-sdxl"] as const) {
  Deno.test(`${name} reads a textual inversion of a word's own vectors as it reads the word`, async () => {
    using model = openTinyModel(name);
    const word = "zorblattish";
    const embeddings = [await inversionOf(model, word, "<w>")];
    const [first] = embeddings[0]!.file.vectors;
    assert(first!.length > 2, "the word is one token");
    const filler = "one two three, ".repeat(20);
    for (
      const [text, own] of [
        [`a ${word} on grass`, "a <w> on grass"],
        [`${word}, ${word}`, "<w>,<W>"],
        [`a (${word}:1.4) and [a ${word} dog]`, "a (<w>:1.4) and [a <w> dog]"],
        [`${filler} ${word} (${word}) BREAK ${word}`, `${filler} <w> (embedding:<w>) BREAK <w>`],
      ] as const
    ) {
      const read = { ...REQUEST, promptSyntax: "a1111", longPrompt: "chunk" } as const;
      const request = { ...read, prompt: text, negativePrompt: `not ${word}` };
      const inverted = { ...read, prompt: own, negativePrompt: "not <w>", embeddings };
      assertEquals(await readingOf(model, inverted), await readingOf(model, request), own);
    }
  });
}

Deno.test("it is told which textual inversions are read, and which have no effect", async () => {
  using model = openTinyModel();
  const told = async (request: Partial<Request>) => (await complete(model, { ...REQUEST, ...request })).notices;
  const read = 'The embedding "thing.safetensors": 3 vectors for "<thing>"';
  const embeddings = [thing(model)];
  assertEquals(await told({ embeddings }), [read]);
  assertEquals(await told({ embeddings, prompt: "a fox", negativePrompt: "a <THING>" }), [read]);
  const idle = 'The embedding "thing.safetensors" has no effect: "<thing>" is a word of no prompt that is read';
  assertEquals(await told({ embeddings, prompt: "a thing" }), [idle]);
  assertEquals((await told({ embeddings, prompt: "a", negativePrompt: "<thing>", guidance: 1 })).at(-1), idle);
  assertEquals((await told({ embeddings, prompt: `${"a ".repeat(80)} <thing>` })).at(-1), idle);
  assertEquals((await told({ embeddings, prompt: "embedding:<thing>, (embedding:Easy_Neg:1.2)" })).toSorted(), [
    read,
    'The prompt names the embedding "Easy_Neg", which is not given: it is read as text',
  ]);
  const other = [thing(model, "other")];
  assertEquals(await told({ embeddings: other, prompt: "an otherwise" }), [
    'The embedding "thing.safetensors" has no effect: "other" is a word of no prompt that is read; ' +
    'the file itself calls it "<thing>"',
  ]);
});

Deno.test("textual inversions that cannot be meant are refused", async () => {
  using model = openTinyModel();
  for (
    const [words, message] of [
      [["<a>", "<A>"], 'two stand for "<A>"'],
      [[" "], "a word has 1 to 256 letters"],
      [["x".repeat(257)], "a word has 1 to 256 letters"],
      [Array.from({ length: 65 }, (_, i) => `<${i}>`), "there are 65; at most 64 are read"],
    ] as const
  ) {
    const embeddings = words.map((word) => thing(model, word));
    await assertRejects(() => complete(model, { ...REQUEST, embeddings }), RequestError, message);
  }
});
