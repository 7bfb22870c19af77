/**
 * Help, written from the command and option tables.
 * @module
 */
import { evaluationsPerStep, schedulerAliases, schedulerNames, schedulerSummary } from "../pipeline/schedulers/mod.ts";
import { type Command, commands, type Given } from "./commands.ts";
import type { Environment } from "./environment.ts";
import { exitCodes, UsageError } from "./errors.ts";
import { optionEntry, type OptionName } from "./options.ts";
import { suggest } from "./suggestion.ts";
import { block } from "./terminal.ts";

const COLUMNS = 80;
const EXAMPLES = `Makes pictures from text with Stable Diffusion, on the GPU.

  denoise "a slice of pizza"
  denoise "a red apple" --seed 7 --steps 20 --output apple.png
`;

/** Help for someone who gave no prompt. */
export function shortHelp(): string {
  return `\n${EXAMPLES}\ndenoise --help lists the options.\n`;
}

/** `denoise help`: what `--help` prints, of the command that the one argument names. */
export function execute({ positionals }: Given, { stdout }: Pick<Environment, "stdout">): Promise<void> {
  const [name, ...more] = positionals;
  if (more.length > 0) throw new UsageError("Help is for one command: denoise help COMMAND");
  const command = name === undefined ? commands[0] : commands.find((command) => command.name === name);
  if (command === undefined) {
    const meant = suggest(name!, commands.map(({ name }) => name));
    throw new UsageError(`There is no command ${name}${meant === undefined ? "" : `: did you mean ${meant}?`}`);
  }
  stdout.write(block(fullHelp(command)));
  return Promise.resolve();
}

/** What a command does and takes; of the first one, also the other commands and the exit codes. */
export function fullHelp(command: Command): string {
  const isFirst = command === commands[0];
  const listed = isFirst ? commands : [command];
  const usage = listed.map(({ usage, summary }) => [usage, summary] as const);
  const flags = command.options.map((name) => [optionFlag(name), optionHelp(name)] as const);
  const codes = exitCodes.map(({ code, meaning }) => [`${code}`, meaning] as const);
  return [
    EXAMPLES,
    `Usage:\n${writeColumns(usage)}`,
    `Options:\n${writeColumns(flags)}`,
    isFirst ? `Exit codes:\n${writeColumns(codes)}` : "denoise --help lists the commands and the exit codes.\n",
  ].join("\n");
}

/** The schedulers: what each is, what it costs and how others call it. */
export function schedulerHelp(): string {
  const rows = schedulerNames().map((name) => {
    const evaluations = evaluationsPerStep(name) === 1 ? "" : "; 2 evaluations of the model a step";
    return [name, `${schedulerSummary(name)}${evaluations} [${schedulerAliases(name).join(", ")}]`] as const;
  });
  return "Schedulers [and what AUTOMATIC1111's web UI and diffusers call them]:\n" + writeColumns(rows) +
    "\nCapitals, spaces, dashes and underscores do not matter: dpm++2m is DPM++ 2M.\n";
}

/** The option as it is typed: `-h, --help`, `--seed NUMBER`. */
export function optionFlag(name: OptionName): string {
  const { letter, value } = optionEntry(name);
  const short = letter === undefined ? "" : `-${letter}, `;
  return `${short}--${name}${value === undefined ? "" : ` ${value}`}`;
}

function optionHelp(name: OptionName): string {
  const { help, default: text, otherwise = text } = optionEntry(name);
  return otherwise ? `${help} [${otherwise}]` : help;
}

/** Rows of two columns, the second one wrapped. */
function writeColumns(rows: readonly (readonly [string, string])[]): string {
  const indent = Math.max(...rows.map(([left]) => left.length)) + 4;
  return rows.map(([left, right]) => {
    const lines = wrap(right, COLUMNS - indent);
    return `  ${left}`.padEnd(indent) + lines.join(`\n${" ".repeat(indent)}`) + "\n";
  }).join("");
}

function wrap(text: string, width: number): string[] {
  return text.split(" ").reduce<string[]>((lines, word) => {
    const line = lines.at(-1);
    const fits = line !== undefined && line.length + 1 + word.length <= width;
    return fits ? [...lines.slice(0, -1), `${line} ${word}`] : [...lines, word];
  }, []);
}
