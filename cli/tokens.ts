/**
 * `denoise tokens`: how a model reads a prompt.
 * @module
 */
import { type EncodedPrompt, encodePrompt, type PromptChunk, tokenizerOf, withEmbeddings } from "../pipeline/mod.ts";
import { withoutLoraTags } from "../pipeline/prompt/lora_tags.ts";
import type { Given } from "./commands.ts";
import { EmbeddingFiles } from "./embeddings.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { readPrompt } from "./request.ts";
import { block, inline, json } from "./terminal.ts";

/** Prints what the text encoder gets, chunk by chunk, how many tokens there are and what is cut off. */
export async function execute(given: Given, environment: Environment): Promise<void> {
  const { values } = given;
  const nothing = new UsageError("No prompt: which text should be read? denoise tokens PROMPT");
  const prompt = await readPrompt(given, environment, nothing);
  const module = await environment.loadPipeline();
  using model = module.openModel(values.model ?? "emoji", {
    tokenizer: values.tokenizer,
    variable: environment.variable,
  });
  const embeddings = new EmbeddingFiles(module, model, environment.folder).read(values);
  const words = embeddings.map(({ word, file }) => ({ word, vectors: file.vectors[0]! }));
  const tokenizer = withEmbeddings(await tokenizerOf(model), words);
  const longPrompt = values["long-prompt"] ?? model.defaults.longPrompt;
  const reading = { promptSyntax: values["prompt-syntax"], longPrompt };
  const text = reading.promptSyntax === "a1111" ? withoutLoraTags(prompt) : prompt;
  const encoded = await encodePrompt(tokenizer, text, reading).catch((cause) => {
    throw cause instanceof RangeError ? new UsageError(`The prompt: ${cause.message}`, { cause }) : cause;
  });
  const limit = tokenizer.maxLength - 2;
  if (values.json) {
    const { chunks, count, cut } = encoded;
    const lists = chunks.map(({ ids, weights }) => ({ ids, weights }));
    environment.stdout.write(json({ schema: 1, model: model.name, chunks: lists, count, limit, cut }));
  } else {
    environment.stdout.write(block(describe(encoded, limit)));
  }
}

function describe({ chunks, count, cut }: EncodedPrompt, limit: number): string {
  const lost = cut === "" ? "nothing" : inline(JSON.stringify(cut));
  const number = chunks.length === 1 ? "" : ` in ${chunks.length} chunks`;
  const lines = [
    ...chunks.flatMap(describeChunk),
    `count: ${count} of ${limit * chunks.length}${number}`,
    `cut off: ${lost}`,
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** The ids, and each run of tokens that has a weight of its own. */
function describeChunk({ ids, tokens }: PromptChunk): readonly string[] {
  const runs: { weight: number; text: string }[] = [];
  for (const { weight, text } of tokens) {
    const last = runs.at(-1);
    if (last?.weight === weight) last.text += text;
    else runs.push({ weight, text });
  }
  return [
    `ids: ${ids.join(" ")}`,
    ...runs.filter(({ weight }) => weight !== 1)
      .map(({ weight, text }) => `weight ${Number(weight.toPrecision(6))}: ${JSON.stringify(text.trim())}`),
  ];
}
