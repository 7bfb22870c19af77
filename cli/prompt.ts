/**
 * Where the prompt comes from.
 * @module
 */
import { resolve } from "@std/path";
import type { Given } from "./commands.ts";
import type { Environment, Input } from "./environment.ts";
import { UsageError } from "./errors.ts";

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
  const prompt = positionals[0] ?? (file === undefined ? await readAll(stdin) : readFile(file, folder)).trim();
  if (prompt !== "") return prompt;
  throw new UsageError("No prompt: what shall the picture show?", { showHelp: true });
}

/** What is piped in; a person is not waited for. */
async function readAll(stdin: Input): Promise<string> {
  return stdin.isTerminal() ? "" : await stdin.read();
}

function readFile(file: string, folder: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Deno.readFileSync(resolve(folder, file)));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const reason = cause instanceof TypeError ? "is not UTF-8 text" : `cannot be read: ${(cause as Error).message}`;
    throw new UsageError(`--prompt-file ${file} ${reason}`, { cause });
  }
}
