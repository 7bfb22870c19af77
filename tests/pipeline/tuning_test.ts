import { assert, assertEquals } from "@std/assert";
import type { KernelTimes, TimingStore } from "../../kernels/selection.ts";
import { measureOperations } from "../../pipeline/bench/mod.ts";
import { Gpu, Pipeline, type Request, type SelectionOptions } from "../../pipeline/mod.ts";
import { openTinyModel } from "../tiny_model.ts";
import { psnr } from "./stages.ts";

const REQUEST: Request = {
  prompt: "a red apple",
  negativePrompt: "",
  seed: 1n,
  steps: 2,
  guidance: 7.5,
  width: 64,
  height: 64,
  scheduler: "ddim",
  rng: "cpu",
};

async function draw(pipeline: Pipeline): Promise<Uint8Array> {
  const events = await Array.fromAsync(pipeline.generate(REQUEST));
  return events.flatMap((event) => event.type === "image" ? [event.image.pixels] : [])[0]!;
}

/** A picture of the tiny model, and the operations that had a choice with what was chosen. */
async function run(selection: SelectionOptions) {
  await using gpu = await Gpu.open();
  using model = openTinyModel();
  await using pipeline = await Pipeline.load(gpu, model, { selection });
  const pixels = await draw(pipeline);
  const { step, decode } = await measureOperations(pipeline, REQUEST);
  const by = [...step, ...decode].flatMap(({ operation, kernels, by }) => by ? [`${operation}: ${kernels} ${by}`] : []);
  await gpu.finish();
  return { pixels, by: by.toSorted() };
}

Deno.test("timed kernels draw the same picture as the table's, now and with the kept times", async () => {
  const kept = new Map<string, KernelTimes>();
  const store: TimingStore = {
    read: () => kept,
    write: (_adapter, times) => times.forEach((value, key) => kept.set(key, value)),
  };
  const table = await run({});
  assert(table.by.length > 10 && table.by.every((line) => line.endsWith("table")));
  const timed = await run({ store, tune: true });
  assertEquals(timed.by.map((line) => line.split(":")[0]), table.by.map((line) => line.split(":")[0]));
  assert(timed.by.some((line) => line.endsWith("timing")));
  assert(psnr(timed.pixels, table.pixels) > 50);
  const again = await run({ store });
  assertEquals(again, timed);
});
