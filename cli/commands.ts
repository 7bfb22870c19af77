/**
 * The command table.
 * @module
 */
import type { Command } from "./command.ts";
import { type OptionName, optionNames } from "./options.ts";

/** Shells that can be taught to complete the command. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

const benchOptions: readonly OptionName[] = ["random-weights", "check", "ablation", "list-kernels"];
const batchOptions: readonly OptionName[] = ["shard", "continue-on-error"];
const pullOptions: readonly OptionName[] = ["revision", "offline"];

const table = [
  {
    name: "generate",
    usage: "denoise [PROMPT] [options]",
    summary: "makes a picture",
    options: optionNames.filter((name) => ![...benchOptions, ...batchOptions, ...pullOptions].includes(name)),
  },
  {
    name: "batch",
    usage: "denoise batch FILE|- [options]",
    completes: "files",
    summary: "makes a picture of each line, a prompt or a JSON object such as " +
      '{"prompt": "a cat", "seed": 7, "steps": 10}; empty lines and those that begin with # are left out',
    options: optionNames.filter((name) => ![...benchOptions, ...pullOptions, "prompt-file", "from"].includes(name)),
  },
  {
    name: "show",
    usage: "denoise show FILE ... [options]",
    completes: "files",
    summary: "shows what pictures were made with: those of this program, AUTOMATIC1111's web UI, stable-diffusion.cpp",
    options: ["json", "quiet", "help", "version"],
  },
  {
    name: "tokens",
    usage: "denoise tokens [PROMPT] [options]",
    summary: "shows how a model reads a prompt",
    options: ["model", "tokenizer", "prompt-file", "prompt-syntax", "long-prompt", "json", "quiet", "help", "version"],
  },
  {
    name: "pull",
    usage: "denoise pull ORGANISATION/NAME [options]",
    summary: "downloads a model of Stable Diffusion 1.x from the Hugging Face hub",
    options: [...pullOptions, "json", "quiet", "help", "version"],
  },
  {
    name: "models",
    usage: "denoise models [options]",
    summary: "lists the models on this machine",
    options: ["json", "quiet", "help", "version"],
  },
  {
    name: "doctor",
    usage: "denoise doctor [options]",
    summary: "examines this machine: the GPU, whether it computes rightly, models, caches, what is slow and why",
    options: ["json", "quiet", "help", "version"],
  },
  {
    name: "completions",
    usage: `denoise completions ${SHELLS.join("|")}`,
    completes: SHELLS,
    summary: "prints a script by which a shell completes this command",
    options: ["quiet", "help", "version"],
  },
  {
    name: "bench",
    usage: "denoise bench [options]",
    summary: "measures this machine",
    options: [
      "model",
      "tokenizer",
      "steps",
      "width",
      "height",
      "precision",
      "kernels",
      "tune",
      "output",
      ...benchOptions,
      "json",
      "quiet",
      "help",
      "version",
    ],
  },
] as const satisfies readonly [Command, ...Command[]];

export type CommandName = (typeof table)[number]["name"];

/** Every command; the first one is meant when none is named. */
export const commands: readonly [Command<CommandName>, ...Command<CommandName>[]] = table;

/** The command that `args` begin with, and the arguments that are left for it. */
export function findCommand(args: readonly string[]): {
  readonly command: Command<CommandName>;
  readonly rest: readonly string[];
} {
  const named = commands.find(({ name }) => name === args[0]);
  return named === undefined ? { command: commands[0], rest: args } : { command: named, rest: args.slice(1) };
}
