/**
 * `denoise completions`: the command and option tables as scripts for shells.
 * @module
 */
import { type Command, commands, type Given, SHELLS } from "./commands.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { namesFile, optionEntry, type OptionName } from "./options.ts";
import { block } from "./terminal.ts";
import { oneOf } from "./values.ts";

const scripts: Readonly<Record<(typeof SHELLS)[number], () => string>> = { bash, zsh, fish };
const [first, ...named] = commands;

export function execute({ positionals }: Given, { stdout }: Environment): Promise<void> {
  const [shell, ...more] = positionals;
  if (shell === undefined || more.length > 0) {
    throw new UsageError(`For which shell? denoise completions ${SHELLS.join("|")}`);
  }
  try {
    stdout.write(block(scripts[oneOf(...SHELLS).read(shell)]()));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new UsageError(`The shell ${cause.message}`, { cause });
  }
  return Promise.resolve();
}

interface Completion {
  readonly name: OptionName;
  readonly letter: string | undefined;
  /** The first clause of the help. */
  readonly help: string;
  /** Whether it may be given again. */
  readonly repeats: boolean;
  /** What follows the option: nothing, a file or folder, one of a list, or what no shell knows. */
  readonly value: "none" | "file" | "other" | readonly string[];
}

function completionOf(name: OptionName): Completion {
  const { help, letter, choices, read, repeats = false } = optionEntry(name);
  const kind = read === undefined ? "none" : namesFile(name) ? "file" : "other";
  return { name, letter, help: help.split("; ")[0]!, repeats, value: choices ?? kind };
}

/** For bash 3.2 (macOS) and later: `source <(denoise completions bash)`. */
function bash(): string {
  const completions = [...new Set(commands.flatMap(({ options }) => options))].map(completionOf);
  const flags = ({ options }: Command) => options.map((name) => `--${name}`).join(" ");
  const words = (value: string) => `COMPREPLY=($(compgen -W "${value}" -- "$current"))`;
  const spellings = ({ name, letter }: Completion) => [...(letter === undefined ? [] : [`-${letter}`]), `--${name}`];
  const ofKind = (kind: string) => completions.filter(({ value }) => value === kind).flatMap(spellings);
  return `# bash completions of denoise, from its tables of commands and options.
_denoise() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  # --name=value is three words.
  [[ $current == = ]] && current=
  [[ $previous == = ]] && previous=\${COMP_WORDS[COMP_CWORD-2]}
  COMPREPLY=()
  case $previous in
${
    completions.flatMap(({ name, value }) =>
      typeof value === "string" ? [] : [`    --${name}) ${words(value.join(" "))}; return ;;`]
    ).join("\n")
  }
    ${ofKind("file").join("|")}) _denoise_files; return ;;
    ${ofKind("other").join("|")}) return ;;
  esac
  if [[ $current == -* ]]; then
    case \${COMP_WORDS[1]} in
${named.map((command) => `      ${command.name}) ${words(flags(command))} ;;`).join("\n")}
      *) ${words(flags(first))} ;;
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

/** `source <(denoise completions zsh)`, or a file `_denoise` in a folder of `$fpath`. */
function zsh(): string {
  const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  const specOf = ({ name, letter, help, repeats, value }: Completion) => {
    const text = `[${help.replaceAll(/[\[\]:\\]/g, "\\$&")}]`;
    const action = value === "file" ? "_files" : value === "other" ? " " : `(${Array.from(value).join(" ")})`;
    const rest = value === "none" ? text : `${text}:value:${action}`;
    const equals = value === "none" ? "" : "=";
    if (letter === undefined) return quoted(`${repeats ? "*" : ""}--${name}${equals}${rest}`);
    return `${quoted(`(-${letter} --${name})`)}{-${letter},--${name}${equals}}${quoted(rest)}`;
  };
  // The first argument of all, the command's name, has been typed by now.
  const argumentsOf = ({ options, completes }: Command) => {
    const rest = completes === undefined ? " " : completes === "files" ? "_files" : `(${completes.join(" ")})`;
    const specs = [...options.map(completionOf).map(specOf), quoted("1:command: "), quoted(`*:argument:${rest}`)];
    return `_arguments \\\n${specs.map((spec) => `      ${spec}`).join(" \\\n")}`;
  };
  return `#compdef denoise
# zsh completions of denoise, from its tables of commands and options.
_denoise() {
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    local -a commands=(${named.map((command) => quoted(`${command.name}:${shortSummary(command)}`)).join(" ")})
    _describe command commands
    return
  fi
  case $words[2] in
${named.map((command) => `    ${command.name}) ${argumentsOf(command)} ;;`).join("\n")}
    *) ${argumentsOf(first)} ;;
  esac
}
compdef _denoise denoise
`;
}

/** `denoise completions fish | source`, or a file in `~/.config/fish/completions`. */
function fish(): string {
  const quoted = (text: string) => `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
  const lineOf = (condition: string, { name, letter, help, value }: Completion) => {
    const kinds = { none: "", file: " -r -F", other: " -x" };
    const takes = typeof value === "string" ? kinds[value] : ` -x -a ${quoted(value.join(" "))}`;
    const short = letter === undefined ? "" : ` -s ${letter}`;
    return `complete -c denoise -n ${quoted(condition)} -l ${name}${short}${takes} -d ${quoted(help)}`;
  };
  const none = `not __fish_seen_subcommand_from ${named.map(({ name }) => name).join(" ")}`;
  return [
    "# fish completions of denoise, from its tables of commands and options.",
    "complete -c denoise -f",
    ...named.map((command) =>
      `complete -c denoise -n __fish_is_first_arg -a ${command.name} -d ${quoted(shortSummary(command))}`
    ),
    ...first.options.map((name) => lineOf(none, completionOf(name))),
    ...named.flatMap(({ name, options, completes }) => {
      const seen = `__fish_seen_subcommand_from ${name}`;
      const lines = options.map((option) => lineOf(seen, completionOf(option)));
      if (completes === undefined) return lines;
      const what = completes === "files" ? "-F" : `-a ${quoted(completes.join(" "))}`;
      return [...lines, `complete -c denoise -n ${quoted(seen)} ${what}`];
    }),
    "",
  ].join("\n");
}

function shortSummary({ summary }: Command): string {
  return summary.split(/[;:,] /)[0]!;
}
