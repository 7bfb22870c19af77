import { assert, assertEquals, assertThrows } from "@std/assert";
import { GpuFailedError } from "../../../kernels/mod.ts";
import type { PromptChunk } from "../../../pipeline/prompt/chunks.ts";
import { assembleContext, emphasize, isWeighted } from "../../../pipeline/prompt/emphasis.ts";
import { relativeError } from "../stages.ts";

/** Values of mean 0.2. */
function values(length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(i * 1.7) + 0.2);
}

function chunk(...weights: readonly number[]): PromptChunk {
  return { ids: weights.map(() => 0), weights, tokens: [] };
}

Deno.test("emphasis multiplies the tokens and restores the mean", () => {
  const [width, weights] = [6, [1, 1.1, 0.5, -2, 1]];
  const context = values(width * 5);
  const weighted = [...context].map((value, i) => value * weights[i % 5]!);
  const sum = (numbers: Iterable<number>) => [...numbers].reduce((a, b) => a + b);
  const want = weighted.map((value) => value * sum(context) / sum(weighted));
  const got = emphasize(context, weights);
  assert(relativeError(got, want) < 1e-6);
  assert(Math.abs(sum(got) / sum(context) - 1) < 1e-5);
});

Deno.test("without weights emphasis changes no bit", () => {
  const context = values(77 * 32);
  assertEquals(emphasize(context, new Array(77).fill(1)), context);
  assertEquals([chunk(1, 1), chunk(1, 1.1), chunk(0, 1)].map(isWeighted), [false, true, true]);
});

Deno.test("chunks of a prompt stand in a row, each with its own mean", () => {
  const [width, tokens] = [3, 2];
  const encoded = values(2 * 2 * width * tokens);
  const prompts = [[chunk(1, 1), chunk(1, 3)], [chunk(2, 1), chunk(1, 1)]];
  const context = assembleContext(encoded, prompts);
  const size = width * tokens;
  prompts.flat().forEach(({ weights }, i) => {
    const want = emphasize(encoded.subarray(i * size, (i + 1) * size), weights);
    const [prompt, column] = [Math.floor(i / 2), i % 2 * tokens];
    for (let row = 0; row < width; row++) {
      const start = (prompt * width + row) * 2 * tokens + column;
      assertEquals(context.slice(start, start + tokens), want.slice(row * tokens, (row + 1) * tokens));
    }
  });
});

Deno.test("weights that cancel each other out, or leave what numbers can hold, are an error", () => {
  assertThrows(() => emphasize(Float32Array.of(1, 1, 1, 1), [1, -1]), GpuFailedError, "its weights may cancel out");
  assertThrows(() => emphasize(Float32Array.of(3e38, -3e38), [100, 1]), GpuFailedError, "values that are not numbers");
  for (const value of [NaN, Infinity, -Infinity]) {
    assertThrows(() => emphasize(Float32Array.of(value, 1), [1, 1.1]), GpuFailedError, "values that are not numbers");
  }
});
