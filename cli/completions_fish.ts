/**
 * Completions for fish.
 * @module
 */
import type { Command } from "./commands.ts";
import { type CompletionEntry, completionEntry } from "./completion_entry.ts";

/** The script; `denoise completions fish | source`, or a file in `~/.config/fish/completions`. */
export function fishScript(commands: readonly Command[]): string {
  const [first, ...named] = commands;
  const others = named.map(({ name }) => name).join(" ");
  const none = `not __fish_seen_subcommand_from ${others}`;
  return [
    "# fish completions of denoise, from its tables of commands and options.",
    "complete -c denoise -f",
    ...named.map(({ name, summary }) =>
      `complete -c denoise -n __fish_is_first_arg -a ${name} -d ${quoted(summary.split(/[;:,] /)[0]!)}`
    ),
    ...first!.options.map((name) => lineOf(none, completionEntry(name))),
    ...named.flatMap(({ name, options, completes }) => {
      const seen = `__fish_seen_subcommand_from ${name}`;
      const lines = options.map((option) => lineOf(seen, completionEntry(option)));
      if (completes === undefined) return lines;
      const what = completes === "files" ? "-F" : `-a ${quoted(completes.join(" "))}`;
      return [...lines, `complete -c denoise -n ${quoted(seen)} ${what}`];
    }),
    "",
  ].join("\n");
}

function lineOf(condition: string, { name, letter, help, value }: CompletionEntry): string {
  const kinds = { none: "", file: " -r -F", other: " -x" };
  const takes = typeof value === "string" ? kinds[value] : ` -x -a ${quoted(value.join(" "))}`;
  const short = letter === undefined ? "" : ` -s ${letter}`;
  return `complete -c denoise -n ${quoted(condition)} -l ${name}${short}${takes} -d ${quoted(help)}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}
