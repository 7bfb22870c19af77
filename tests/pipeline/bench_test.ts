import { assert, assertEquals } from "@std/assert";
import {
  measureAblation,
  measureCeilings,
  measureChoices,
  measureOperations,
  measureStages,
} from "../../pipeline/bench/mod.ts";
import { Gpu, Pipeline, type Request } from "../../pipeline/mod.ts";
import { AUTO, BASELINE, PAPER } from "../../pipeline/optimizations.ts";
import { openTinyModel } from "../tiny_model.ts";

const REQUEST: Request = {
  prompt: "",
  negativePrompt: "",
  seed: 0n,
  steps: 2,
  guidance: 7.5,
  width: 64,
  height: 64,
  scheduler: "ddim",
  rng: "cpu",
};

async function withTiny(test: (pipeline: Pipeline, gpu: Gpu) => Promise<void>): Promise<void> {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, model);
  await test(pipeline, gpu);
  await gpu.finish();
}

Deno.test("stages and ceilings are measured", () =>
  withTiny(async (pipeline) => {
    const { evaluations, first, ...spreads } = await measureStages(pipeline, REQUEST);
    assertEquals(Object.keys(spreads), ["text", "step", "decode", "picture"]);
    assertEquals(evaluations, 2);
    for (const { low, median, count } of Object.values(spreads)) assert(low > 0 && low <= median && count >= 2);
    assert(first > 0);
    const { teraflops, gigabytes } = await measureCeilings();
    assert(teraflops > 0 && gigabytes > 0);
  }));

Deno.test("what operations are worth does not depend on their kernels", () =>
  withTiny(async (pipeline) => {
    await using baseline = pipeline.with(BASELINE);
    const worth = async (pipeline: Pipeline) => {
      const { step, decode } = await measureOperations(pipeline, REQUEST);
      return [...step, ...decode].map(({ operation, count, flops, bytes }) => ({ operation, count, flops, bytes }))
        .toSorted((a, b) => a.operation < b.operation ? -1 : 1);
    };
    const operations = await worth(pipeline);
    assertEquals(await worth(baseline), operations);
    const of = (name: string) => operations.find(({ operation }) => operation === name);
    // 2 samples of 8x8 pixels; 9 taps of 4 channels for each of 32; weights of 2 bytes.
    assertEquals(of("convolution 3x3 4 to 32, 2x8x8"), {
      operation: "convolution 3x3 4 to 32, 2x8x8",
      count: 1,
      flops: 2 * 9 * 4 * 32 * 128,
      bytes: 4 * 128 * (4 + 32) + 2 * 9 * 4 * 32,
    });
    // Scores and values: 2 samples, 64 queries, 64 keys, 32 channels; five transformers at this resolution.
    const attention = of("attention 4x8, 2x64 to 64")!;
    assertEquals(attention.flops, attention.count * 4 * 2 * 64 * 64 * 32);
  }));

Deno.test("every choice names its kernels and the one that runs", () =>
  withTiny(async (pipeline) => {
    const choices = await measureChoices(pipeline, REQUEST);
    const names = new Set(choices.flatMap(({ kernels }) => kernels.map(({ name }) => name)));
    for (const name of ["Winograd", "direct", "partially fused softmax", "one shader", "separate GEGLU"]) {
      assert(names.has(name), name);
    }
    for (const { operation, kernels, by } of choices) {
      assert(kernels.length > 1 && kernels.every(({ milliseconds }) => milliseconds > 0), operation);
      assertEquals(kernels.filter(({ chosen }) => chosen).length, 1, operation);
      assert(by === "table" || by === "timing", operation);
    }
  }));

Deno.test("the ablation goes from the baseline to the paper, then to what runs", () =>
  withTiny(async (pipeline, gpu) => {
    const told: string[] = [];
    const bytes = gpu.bytes;
    const rows = await measureAblation(pipeline, REQUEST, {
      rounds: 1,
      budget: 1,
      onRow: (name, round) => told.push(`${round} ${name}`),
    });
    assertEquals(told, rows.map(({ name }) => `1 ${name}`));
    const on = rows.map((
      { kernels: { shapes, ...kernels } },
    ) => [shapes, Object.values(kernels).filter(Boolean).length]);
    const last = pipeline.hasMatrices ? [["measured", 6]] : [];
    assertEquals(on, [["paper", 0], ["paper", 1], ["paper", 3], ["paper", 4], ["paper", 5], ["measured", 5], ...last]);
    assertEquals([rows[0]!.kernels, ...rows.slice(4).map(({ kernels }) => kernels)], [
      { ...BASELINE, shapes: "paper" },
      PAPER,
      { ...AUTO, matrices: false },
      ...pipeline.hasMatrices ? [AUTO] : [],
    ]);
    // The pipelines of the rows gave all of their memory back.
    assertEquals(gpu.bytes, bytes);
  }));
