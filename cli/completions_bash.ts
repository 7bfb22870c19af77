/**
 * Completions for bash, 3.2 (macOS) and later.
 * @module
 */
import type { Command } from "./commands.ts";
import { completionEntry } from "./completion_entry.ts";

/** The script; `source <(denoise completions bash)`. */
export function bashScript(commands: readonly Command[]): string {
  const [first, ...named] = commands;
  const entries = [...new Set(commands.flatMap(({ options }) => options))].map(completionEntry);
  const flags = ({ options }: Command) => options.map((name) => `--${name}`).join(" ");
  const words = (value: string) => `COMPREPLY=($(compgen -W "${value}" -- "$current"))`;
  const lists = entries.flatMap(({ name, value }) =>
    typeof value === "string" ? [] : [`    --${name}) ${words(value.join(" "))}; return ;;`]
  );
  const ofKind = (kind: string) => entries.flatMap(({ name, value }) => value === kind ? [`--${name}`] : []).join("|");
  return `# bash completions of denoise, from its tables of commands and options.
_denoise() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  # --name=value is three words.
  [[ $current == = ]] && current=
  [[ $previous == = ]] && previous=\${COMP_WORDS[COMP_CWORD-2]}
  COMPREPLY=()
  case $previous in
${lists.join("\n")}
    ${ofKind("file")}) _denoise_files; return ;;
    ${ofKind("other")}) return ;;
  esac
  if [[ $current == -* ]]; then
    case \${COMP_WORDS[1]} in
${named.map((command) => `      ${command.name}) ${words(flags(command))} ;;`).join("\n")}
      *) ${words(flags(first!))} ;;
    esac
  elif ((COMP_CWORD == 1)); then
    ${words(named.map(({ name }) => name).join(" "))}
  else
    case \${COMP_WORDS[1]} in
${
    named.flatMap(({ name, completes }) => {
      if (completes === undefined) return [];
      return [`      ${name}) ${completes === "files" ? "_denoise_files" : words(completes.join(" "))} ;;`];
    }).join("\n")
  }
    esac
  fi
}
_denoise_files() {
  local file
  while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$current")
  type compopt &>/dev/null && compopt -o filenames
}
complete -F _denoise denoise
`;
}
