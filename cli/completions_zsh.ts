/**
 * Completions for zsh.
 * @module
 */
import type { Command } from "./commands.ts";
import { type CompletionEntry, completionEntry } from "./completion_entry.ts";

/** The script; `source <(denoise completions zsh)`, or a file `_denoise` in a folder of `$fpath`. */
export function zshScript(commands: readonly Command[]): string {
  const [first, ...named] = commands;
  const names = named.map(({ name, summary }) => quoted(`${name}:${summary.split(/[;:,] /)[0]}`)).join(" ");
  return `#compdef denoise
# zsh completions of denoise, from its tables of commands and options.
_denoise() {
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    local -a commands=(${names})
    _describe command commands
    return
  fi
  case $words[2] in
${named.map((command) => `    ${command.name}) ${argumentsOf(command)} ;;`).join("\n")}
    *) ${argumentsOf(first!)} ;;
  esac
}
compdef _denoise denoise
`;
}

/** zsh's `_arguments` for a command; the first of all, its name, has been typed by now. */
function argumentsOf({ options, completes }: Command): string {
  const rest = completes === undefined ? " " : completes === "files" ? "_files" : `(${completes.join(" ")})`;
  const specs = [
    ...options.map(completionEntry).map(specOf),
    quoted("1:command: "),
    quoted(`*:argument:${rest}`),
  ];
  return `_arguments \\\n${specs.map((spec) => `      ${spec}`).join(" \\\n")}`;
}

function specOf({ name, letter, help, value }: CompletionEntry): string {
  const text = `[${help.replaceAll(/[\[\]:\\]/g, "\\$&")}]`;
  if (letter !== undefined) return `${quoted(`(-${letter} --${name})`)}{-${letter},--${name}}${quoted(text)}`;
  if (value === "none") return quoted(`--${name}${text}`);
  const action = value === "file" ? "_files" : value === "other" ? " " : `(${value.join(" ")})`;
  return quoted(`--${name}=${text}:value:${action}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
