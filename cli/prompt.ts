/**
 * Where the prompt comes from.
 * @module
 */
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";

/**
 * The one positional argument, or all of standard input when that is no terminal.
 *
 * @throws {UsageError} when there is no prompt, or more than one.
 */
export async function readPrompt(
  positionals: readonly string[],
  { stdin }: Environment,
): Promise<string> {
  if (positionals.length > 1) {
    const whole = JSON.stringify(positionals.join(" "));
    throw new UsageError(`A prompt of several words needs quotes: ${whole}`);
  }
  const prompt = positionals[0] ?? (stdin.isTerminal() ? "" : (await stdin.read()).trim());
  if (prompt !== "") return prompt;
  throw new UsageError("No prompt: what shall the picture show?", { showHelp: true });
}
