/**
 * Where the prompt comes from.
 * @module
 */
import type { Given } from "./command.ts";
import type { Environment, Input } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { readTextFile } from "./text_file.ts";

/**
 * The one positional argument, the file that `--prompt-file` names, or all of standard input when that is no terminal.
 *
 * @throws {UsageError} when there is no prompt, or more than one, or the file cannot be read.
 */
export async function readPrompt(
  { positionals, values }: Pick<Given, "positionals" | "values">,
  { stdin, folder }: Environment,
): Promise<string> {
  const file = values["prompt-file"];
  if (positionals.length > 1) {
    const whole = JSON.stringify(positionals.join(" "));
    throw new UsageError(`A prompt of several words needs quotes: ${whole}`);
  }
  if (file !== undefined && positionals.length > 0) {
    throw new UsageError("A prompt and --prompt-file are two prompts: choose one");
  }
  const prompt = positionals[0] ??
    (file === undefined ? await readAll(stdin) : readTextFile(file, { folder, label: "--prompt-file" })).trim();
  if (prompt !== "") return prompt;
  throw new UsageError("No prompt: what shall the picture show?", { showHelp: true });
}

/** What is piped in; a person is not waited for. */
async function readAll(stdin: Input): Promise<string> {
  return stdin.isTerminal() ? "" : await stdin.read();
}
