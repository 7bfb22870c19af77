import { assert } from "@std/assert";
import { chooseBackends, Gpu } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import { byPart, PART_NAMES } from "../../weights/mod.ts";
import type { Net } from "../../pipeline/families/family.ts";
import { recordLoop } from "../../pipeline/loop.ts";
import { tokenizerOf } from "../../pipeline/model.ts";
import { embedTokens, readTextEncoder, textEncoder, type TextWeights } from "../../pipeline/nets/clip.ts";
import { readTextConfig, readUnetConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { embedTimesteps, prepareUnet, readUnet, unet, type UnetWeights } from "../../pipeline/nets/unet.ts";
import { encodePrompt, inEqualChunks, type PromptChunk, type PromptReading } from "../../pipeline/prompt/chunks.ts";
import { createNoiseSource } from "../../pipeline/random/mod.ts";
import { scheduleFor } from "../../pipeline/schedulers/mod.ts";
import { runStep, type Schedule } from "../../pipeline/schedulers/schedule.ts";
import type { Tokenizer } from "../../pipeline/tokenizer.ts";
import { openTinyModel } from "../tiny_model.ts";
import { ALLOWED, assertStage, relativeError } from "./stages.ts";

/** The latent's side. */
const SIDE = 8;
const GUIDANCE = 5;
const READING: PromptReading = { promptSyntax: "a1111", longPrompt: "chunk" };

/** The tiny model: its net, and the same weights for what the net is made of. */
interface Tiny {
  readonly ops: Ops;
  readonly net: Net;
  readonly weights: { readonly text: TextWeights; readonly unet: UnetWeights };
  readonly tokenizer: Tokenizer;
}

/** The tiny model in float32, and a run of one step. */
async function withTiny(test: (tiny: Tiny, schedule: Schedule, start: Float32Array) => Promise<void>): Promise<void> {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  const ops = new Ops(gpu, (await chooseBackends(gpu)).exact);
  const parameters = byPart((part) => new Parameters(ops, model.parts[part], "f32"));
  const weights = {
    text: readTextEncoder(parameters.text_encoder, readTextConfig(model.config.text_encoder)),
    unet: readUnet(parameters.unet, readUnetConfig(model.config.unet)),
  };
  const net = model.family.read(parameters, model.config);
  for (const part of PART_NAMES) await parameters[part].load();
  const schedule = scheduleFor(model.config.scheduler, { steps: 1, name: "euler" });
  const start = createNoiseSource("cpu", 1n).normal(4 * SIDE * SIDE).map((value) => value * schedule.initNoiseSigma);
  await test({ ops, net, weights, tokenizer: await tokenizerOf(model) }, schedule, start);
}

async function encodePrompts(tokenizer: Tokenizer, texts: readonly string[], reading: PromptReading) {
  return inEqualChunks(tokenizer, await Promise.all(texts.map((text) => encodePrompt(tokenizer, text, reading))));
}

/** The latent after one step of the recorded loop. */
async function denoise(
  { ops, net, tokenizer }: Tiny,
  prompts: readonly (readonly PromptChunk[])[],
  { schedule, start, clipSkip = 1 }: { schedule: Schedule; start: Float32Array; clipSkip?: number },
): Promise<Float32Array> {
  const loop = await recordLoop(ops, net, {
    channels: 4,
    height: SIDE,
    width: SIDE,
    samples: prompts.length,
    evaluations: 1,
    slots: schedule.slots,
    tokens: tokenizer.maxLength,
    chunks: prompts[0]!.length,
    clipSkip,
    masked: false,
    rescaled: false,
  });
  const timesteps = schedule.steps.map(({ timestep }) => timestep);
  const request = { guidance: GUIDANCE, negativePrompt: "", width: 128, height: 128 };
  await loop.conditions.prepare({ prompts: [prompts], timesteps, request });
  loop.start(schedule, { sample: start, guidance: GUIDANCE, guidanceRescale: 0, finalScale: 1 });
  loop.step();
  const latent = await loop.sample();
  loop.dispose();
  return latent;
}

/** The context `[width, tokens]` of one chunk, all by itself. */
async function encodeAlone({ ops, weights: { text } }: Tiny, { ids }: PromptChunk): Promise<Float32Array> {
  const shape = { batch: 1, channels: text.config.width, height: ids.length, width: 1 };
  const [embedded, context] = [ops.keep(shape, "embedded"), ops.keep(shape, "context")];
  ops.write(embedded, embedTokens(text, [ids]));
  run(ops, () => ops.copy(textEncoder(ops, text, embedded), context));
  return await ops.read(context);
}

/** The UNet's prediction for a context `[width, tokens]` that is there already. */
async function predict(
  { ops, weights }: Tiny,
  context: Float32Array,
  { schedule, start }: { schedule: Schedule; start: Float32Array },
) {
  const { timestep, inputScale } = schedule.steps[0]!;
  const keep = (channels: number, height: number, values: ArrayLike<number>, width = 1) => {
    const kept = ops.keep({ batch: 1, channels, height, width }, "input");
    ops.write(kept, Float32Array.from(values));
    return kept;
  };
  const width = weights.text.config.width;
  const kept = keep(width, context.length / width, context);
  const embedding = embedTimesteps(weights.unet.config, [timestep]);
  const timesteps = keep(embedding.length, 1, embedding);
  const x = keep(4, SIDE, start.map((value) => value * inputScale), SIDE);
  const out = ops.keep(x, "output");
  const step = ops.buffer(1, "step", "u32");
  ops.gpu.write(step, new Uint32Array(1));
  run(ops, () => {
    const conditions = prepareUnet(ops, weights.unet, { timesteps, step, context: kept });
    ops.copy(unet(ops, weights.unet, x, conditions), out);
  });
  return await ops.read(out);
}

function run(ops: Ops, build: () => void): void {
  const program = ops.record(build);
  program.run();
  program.dispose();
}

/** Contexts of chunks side by side: `[width, tokens]` each to `[width, chunks x tokens]`. */
function joined(contexts: readonly Float32Array[], width: number): Float32Array {
  const row = (values: Float32Array, index: number) => {
    const tokens = values.length / width;
    return [...values.subarray(index * tokens, (index + 1) * tokens)];
  };
  return Float32Array.from(
    Array.from({ length: width }, (_, index) => contexts.flatMap((context) => row(context, index))).flat(),
  );
}

/** A1111's formula, token by token in float64. */
function weighted(context: Float32Array, weights: readonly number[]): Float32Array {
  const values = [...context].map((value, i) => value * weights[i % weights.length]!);
  const [before, after] = [context, values].map((values) => [...values].reduce((sum, value) => sum + value, 0));
  return Float32Array.from(values, (value) => value * before! / after!);
}

const LONG = `a red fox ${"and a dog ".repeat(30)}, oil painting`;
const CASES: readonly (readonly [what: string, negative: string, prompt: string, chunks: number])[] = [
  ["weights in one chunk", "", "a (red:1.4) fox, [oil painting]", 1],
  ["weights in the negative prompt alone", "(blurry:1.6)", "a fox", 1],
  ["two chunks, and one that is empty", "blurry", LONG, 2],
  ["three chunks with weights", "(ugly) BREAK blurry", "a (fox:1.3) BREAK a dog BREAK (cats:0.2) and a bird", 3],
];

Deno.test("chunks and weights are the context that single chunks and the formula give", (t) =>
  withTiny(async (tiny, schedule, start) => {
    const width = tiny.weights.text.config.width;
    for (const [what, negative, prompt, chunks] of CASES) {
      await t.step(what, async () => {
        const prompts = await encodePrompts(tiny.tokenizer, [negative, prompt], READING);
        assert(prompts.every((prompt) => prompt.length === chunks), `${prompts.map((prompt) => prompt.length)} chunks`);
        const predictions: Float32Array[] = [];
        for (const prompt of prompts) {
          const contexts: Float32Array[] = [];
          for (const chunk of prompt) contexts.push(weighted(await encodeAlone(tiny, chunk), chunk.weights));
          predictions.push(await predict(tiny, joined(contexts, width), { schedule, start }));
        }
        const [without, with_] = predictions as [Float32Array, Float32Array];
        const output = without.map((value, i) => value + GUIDANCE * (with_[i]! - value));
        const [want] = runStep(schedule.steps[0]!, { state: [start], output });
        const got = await denoise(tiny, prompts, { schedule, start });
        assertStage(what, got, want!, ALLOWED.unet);
        // What the case is about is no matter of rounding.
        const plain = await encodePrompts(tiny.tokenizer, [negative, prompt], {});
        const other = await denoise(tiny, plain, { schedule, start });
        const change = relativeError(other, want!);
        assert(change > 10 * ALLOWED.unet, `${what} changes the latent by ${change} only`);
      });
    }
  }));

Deno.test("clip skip changes the latent", () =>
  withTiny(async (tiny, schedule, start) => {
    const prompts = await encodePrompts(tiny.tokenizer, ["a fox"], READING);
    const [one, two] = [
      await denoise(tiny, prompts, { schedule, start }),
      await denoise(tiny, prompts, { schedule, start, clipSkip: 2 }),
    ];
    assert(relativeError(two, one) > 10 * ALLOWED.unet);
  }));
