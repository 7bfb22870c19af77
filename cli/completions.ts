/**
 * `denoise completions`: the command and option tables as scripts for shells.
 * @module
 */
import { type Command, commands, type Given, SHELLS } from "./commands.ts";
import { bashScript } from "./completions_bash.ts";
import { fishScript } from "./completions_fish.ts";
import { zshScript } from "./completions_zsh.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { oneOf } from "./values.ts";

const scripts: Readonly<Record<(typeof SHELLS)[number], (commands: readonly Command[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** Prints the script of the shell that is named. */
export function execute({ positionals }: Given, { stdout }: Environment): Promise<void> {
  const [shell, ...more] = positionals;
  if (shell === undefined || more.length > 0) {
    throw new UsageError(`For which shell? denoise completions ${SHELLS.join("|")}`);
  }
  try {
    stdout.write(scripts[oneOf(...SHELLS).read(shell)](commands));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new UsageError(`The shell ${cause.message}`, { cause });
  }
  return Promise.resolve();
}
