/**
 * The command table.
 * @module
 */
import type { Environment } from "./environment.ts";
import { type OptionName, optionNames, type OptionValues } from "./options.ts";
import type { SortedArguments } from "./parse.ts";

/** What a command is given, checked. */
export interface Given extends SortedArguments {
  readonly values: OptionValues;
}

/** A command's code: it returns an exit code, 0 when it returns nothing. */
export interface CommandModule {
  execute(given: Given, environment: Environment): Promise<number | void>;
}

/** An entry of the command table. */
export interface Command<Name extends string = string> {
  /** The first argument that asks for it; the first entry needs none. */
  readonly name: Name;
  /** How help writes its arguments. */
  readonly usage: string;
  /** What it does, in words. */
  readonly summary: string;
  /** What its arguments are, when a shell can complete them: files, or one of these words. */
  readonly completes?: "files" | readonly string[];
  readonly options: readonly OptionName[];
}

/** Shells that can be taught to complete the command. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

const benchOptions: readonly OptionName[] = ["random-weights", "check", "ablation", "list-kernels"];
const batchOptions: readonly OptionName[] = ["shard", "continue-on-error", "dry-run"];
const promptOptions: readonly OptionName[] = ["prompt-file", "from", "trust-paths"];
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
    options: optionNames.filter((name) => ![...benchOptions, ...pullOptions, ...promptOptions].includes(name)),
  },
  {
    name: "upscale",
    usage: "denoise upscale FILE ... --model FILE [options]",
    completes: "files",
    summary: "enlarges pictures with an ESRGAN (.safetensors), Real-ESRGAN for instance; what they say stays in them",
    options: [
      "model",
      "precision",
      "kernels",
      "webgpu",
      "tune",
      "output",
      "no-metadata",
      "skip-existing",
      "no-clobber",
      "json",
      "quiet",
      "help",
      "version",
    ],
  },
  {
    name: "show",
    usage: "denoise show FILE ... [options]",
    completes: "files",
    summary:
      "shows what pictures were made with: those of this program, AUTOMATIC1111's web UI, stable-diffusion.cpp; " +
      "and what .safetensors files are",
    options: ["json", "quiet", "help", "version"],
  },
  {
    name: "tokens",
    usage: "denoise tokens [PROMPT] [options]",
    summary: "shows how a model reads a prompt",
    options: [
      "model",
      "tokenizer",
      "embedding",
      "prompt-file",
      "prompt-syntax",
      "long-prompt",
      "json",
      "quiet",
      "help",
      "version",
    ],
  },
  {
    name: "pull",
    usage: "denoise pull ORGANISATION/NAME [options]",
    summary: "downloads a Stable Diffusion model from the Hugging Face hub",
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
    summary: "examines this machine: the GPU, whether its results are right, models, caches, what is slow and why",
    options: ["webgpu", "json", "quiet", "help", "version"],
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
      "vae",
      "steps",
      "width",
      "height",
      "precision",
      "kernels",
      "webgpu",
      "memory",
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

export type CommandName = (typeof table)[number]["name"] | "help";

/** Every command; the first one is meant when none is named. */
export const commands: readonly [Command<CommandName>, ...Command<CommandName>[]] = [
  ...table,
  {
    name: "help",
    usage: "denoise help [COMMAND]",
    completes: table.map(({ name }) => name),
    summary: "prints what a command does and takes",
    options: ["help", "version"],
  },
];
