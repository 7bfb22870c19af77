/**
 * The command table. A command's code is loaded when it runs.
 * @module
 */
import type { Args } from "@std/cli";
import type { Environment } from "./environment.ts";
import { type OptionName, optionNames, type OptionValues } from "./options.ts";

/** What a command is given, checked. */
export interface Given {
  /** Values of the options. */
  readonly values: OptionValues;
  /** The options as they were given, still text. */
  readonly options: Args;
  /** Arguments that belong to no option. */
  readonly positionals: readonly string[];
}

/** An entry of the command table. */
export interface Command {
  /** The first argument that asks for it; the first entry needs none. */
  readonly name: string;
  /** How help writes its arguments. */
  readonly usage: string;
  /** What it does, in words. */
  readonly summary: string;
  /** What its arguments are, when a shell can complete them: files, or one of these words. */
  readonly completes?: "files" | readonly string[];
  /** The options it knows. */
  readonly options: readonly OptionName[];
  /** Loads its code; what `execute` returns is an exit code, 0 when it returns nothing. */
  load(): Promise<{
    execute(given: Given, environment: Environment): Promise<number | void>;
  }>;
}

/** Shells that can be taught to complete the command. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

const benchOptions: readonly OptionName[] = ["random-weights", "check", "ablation", "list-kernels"];
const batchOptions: readonly OptionName[] = ["shard", "continue-on-error"];
const pullOptions: readonly OptionName[] = ["revision", "offline"];

/** Every command; the first one is meant when none is named. */
export const commands: readonly [Command, ...Command[]] = [
  {
    name: "generate",
    usage: "denoise [PROMPT] [options]",
    summary: "makes a picture",
    options: optionNames.filter((name) => ![...benchOptions, ...batchOptions, ...pullOptions].includes(name)),
    load: () => import("./generate.ts"),
  },
  {
    name: "batch",
    usage: "denoise batch FILE|- [options]",
    completes: "files",
    summary: "makes a picture of each line, a prompt or a JSON object such as " +
      '{"prompt": "a cat", "seed": 7, "steps": 10}; empty lines and those that begin with # are left out',
    options: optionNames.filter((name) => ![...benchOptions, ...pullOptions, "prompt-file", "from"].includes(name)),
    load: () => import("./batch.ts"),
  },
  {
    name: "show",
    usage: "denoise show FILE ... [options]",
    completes: "files",
    summary: "shows what pictures were made with: those of this program, AUTOMATIC1111's web UI, stable-diffusion.cpp",
    options: ["json", "quiet", "help", "version"],
    load: () => import("./show.ts"),
  },
  {
    name: "tokens",
    usage: "denoise tokens [PROMPT] [options]",
    summary: "shows how a model reads a prompt",
    options: ["model", "tokenizer", "prompt-file", "prompt-syntax", "long-prompt", "json", "quiet", "help", "version"],
    load: () => import("./tokens.ts"),
  },
  {
    name: "pull",
    usage: "denoise pull ORGANISATION/NAME [options]",
    summary: "downloads a model of Stable Diffusion 1.x from the Hugging Face hub",
    options: [...pullOptions, "json", "quiet", "help", "version"],
    load: () => import("./pull.ts"),
  },
  {
    name: "models",
    usage: "denoise models [options]",
    summary: "lists the models on this machine",
    options: ["json", "quiet", "help", "version"],
    load: () => import("./models.ts"),
  },
  {
    name: "doctor",
    usage: "denoise doctor [options]",
    summary: "examines this machine: the GPU, whether it computes rightly, models, caches, what is slow and why",
    options: ["json", "quiet", "help", "version"],
    load: () => import("./doctor.ts"),
  },
  {
    name: "completions",
    usage: `denoise completions ${SHELLS.join("|")}`,
    completes: SHELLS,
    summary: "prints a script by which a shell completes this command",
    options: ["quiet", "help", "version"],
    load: () => import("./completions.ts"),
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
    load: () => import("./bench.ts"),
  },
];

/** The command that `args` begin with, and the arguments that are left for it. */
export function findCommand(args: readonly string[]): {
  readonly command: Command;
  readonly rest: readonly string[];
} {
  const named = commands.find(({ name }) => name === args[0]);
  return named === undefined ? { command: commands[0], rest: args } : { command: named, rest: args.slice(1) };
}
