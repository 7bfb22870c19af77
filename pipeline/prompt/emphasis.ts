/**
 * Emphasis: the context of weighted tokens.
 * @module
 */
import { GpuFailedError } from "../../kernels/errors.ts";
import type { PromptChunk } from "./chunks.ts";

/** Whether any token of a chunk has a weight of its own. */
export function isWeighted({ weights }: PromptChunk): boolean {
  return weights.some((weight) => weight !== 1);
}

/**
 * The context `[batch, width, chunks x tokens]` of prompts whose chunks were encoded as
 * `encoded [batch x chunks, width, tokens]`: chunks in a row, tokens by their weights.
 */
export function assembleContext(
  encoded: Float32Array,
  prompts: readonly (readonly PromptChunk[])[],
): Float32Array {
  const chunks = prompts.flat();
  const perPrompt = prompts[0]!.length;
  const tokens = chunks[0]!.ids.length;
  const size = encoded.length / chunks.length;
  const context = new Float32Array(encoded.length);
  chunks.forEach(({ weights }, i) => {
    const values = emphasize(encoded.subarray(i * size, (i + 1) * size), weights);
    const [prompt, chunk] = [Math.floor(i / perPrompt), i % perPrompt];
    for (let row = 0; row < size / tokens; row++) {
      const start = prompt * perPrompt * size + (row * perPrompt + chunk) * tokens;
      context.set(values.subarray(row * tokens, (row + 1) * tokens), start);
    }
  });
  return context;
}

/**
 * A chunk's `context [width, tokens]` with each token's column times its weight, then all of it times what restores
 * the mean of all values: "Original" of A1111's emphasis modes.
 *
 * @throws {GpuFailedError} when the context is not made of numbers, or its mean is none to restore.
 */
export function emphasize(context: Float32Array, weights: readonly number[]): Float32Array {
  const weighted = context.map((value, i) => value * weights[i % weights.length]!);
  const restore = mean(context) / mean(weighted);
  const restored = weighted.map((value) => value * restore);
  if (restored.every(Number.isFinite)) return restored;
  throw new GpuFailedError("The prompt's context holds values that are not numbers: its weights may cancel out");
}

function mean(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
