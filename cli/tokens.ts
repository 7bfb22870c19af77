/**
 * `denoise tokens`: how a model reads a prompt.
 * @module
 */
import type { Given } from "./commands.ts";
import type { Environment } from "./environment.ts";
import { readPrompt } from "./prompt.ts";

/** Prints the ids that the text encoder gets, how many tokens there are and what is cut off. */
export async function execute({ values, positionals }: Given, environment: Environment): Promise<void> {
  const prompt = await readPrompt(positionals, environment);
  const { loadTokenizer, openModel } = await environment.loadPipeline();
  using model = openModel(values.model ?? "emoji", { tokenizer: values.tokenizer });
  const tokenizer = await loadTokenizer(model.tokenizer);
  const { ids, count, cut } = await tokenizer.encode(prompt);
  const limit = tokenizer.maxLength - 2;
  if (values.json) {
    const document = { schema: 1, model: model.name, ids, count, limit, cut };
    environment.stdout.write(`${JSON.stringify(document)}\n`);
  } else {
    const lost = cut === "" ? "nothing" : JSON.stringify(cut);
    environment.stdout.write(`ids: ${ids.join(" ")}\ncount: ${count} of ${limit}\ncut off: ${lost}\n`);
  }
}
