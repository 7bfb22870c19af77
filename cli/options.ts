/**
 * The option table: parsing, help and README's table are all read from it.
 * @module
 */
import { LIMITS } from "../pipeline/limits.ts";
import { readOptimizations } from "../pipeline/optimizations.ts";
import { findScheduler, schedulerNames } from "../pipeline/schedulers/mod.ts";
import {
  controlStrength,
  embedding,
  finiteNumber,
  foundIn,
  fraction,
  gibibytes,
  lora,
  name,
  oneOf,
  promptText,
  seed,
  shard,
  share,
  size,
  thresholds,
  times,
  wholeNumber,
} from "./values.ts";

interface OptionEntry {
  /** What it does, in words. */
  readonly help: string;
  /** One letter that says the same after a single dash. */
  readonly letter?: string;
  /** How help writes the value; a switch has none, and one of few choices shows them. */
  readonly value?: string;
  /** The values there are, if they can be listed. */
  readonly choices?: readonly string[];
  /** Turns the value's text into the value, or throws a RangeError. */
  readonly read?: (value: string) => unknown;
  /** Whether it may be given several times; its value is then a list. */
  readonly repeats?: true;
  /** The text read when the option is absent. */
  readonly default?: string;
  /** What help says of an absent option that has no such text. */
  readonly otherwise?: string;
  /**
   * What it belongs to: a `picture`, which it decides, so that lines of a batch may have it and a picture's metadata
   * keeps it; the `model` that is loaded, kept as well, but the same for all pictures of a run; a `line`, which may have
   * it, though it decides no pixel, and no metadata may. Without a scope it belongs to the whole run.
   */
  readonly scope?: "picture" | "model" | "line";
}

const side = {
  value: "PIXELS",
  help: "a multiple of 8, 64 to 4096",
  otherwise: "the init or control image's, up to twice the model's, or the model's",
  read: size,
  scope: "picture",
} as const;

const original = { value: "PIXELS", scope: "picture" } as const;

/** Every option of every command, in the order of help. */
export const options = {
  "model": {
    value: "NAME|DIR|FILE",
    help: "an embedded model, a folder of a diffusers model, a checkpoint (.safetensors), or a downloaded " +
      "ORGANISATION/NAME or ORGANISATION/NAME@REVISION; upscale: an ESRGAN (.safetensors)",
    otherwise: "emoji",
    read: name,
    scope: "model",
  },
  "tokenizer": {
    value: "DIR",
    help: "a folder with the tokenizer to use, for a checkpoint that has none",
    otherwise: "the model's",
    read: name,
    scope: "model",
  },
  "vae": {
    value: "DIR|FILE",
    help: "another VAE: a folder of diffusers or a .safetensors file, tiny autoencoders (TAESD), too",
    otherwise: "the model's",
    read: name,
    scope: "model",
  },
  "lora": {
    value: "FILE[:WEIGHT]",
    help:
      "a LoRA (.safetensors) that changes the model, and by how much, 1 where nothing is said; may be given several " +
      "times; a name is looked up in --lora-dir",
    otherwise: "none",
    repeats: true,
    read: lora,
    scope: "picture",
  },
  "lora-dir": {
    value: "DIR",
    help: "the folder of the LoRAs that prompts and --lora name; nothing outside of it is read",
    otherwise: "none",
    read: name,
  },
  "embedding": {
    value: "FILE[:WORD]",
    help:
      "a textual inversion (.safetensors), whose vectors are read where its word is in a prompt, the file's name where " +
      "nothing is said; may be given several times",
    otherwise: "none",
    repeats: true,
    read: embedding,
    scope: "picture",
  },
  "controlnet": {
    value: "DIR|FILE",
    help: "a ControlNet for the model: a folder of diffusers or a .safetensors file; may be given several times, and " +
      "so may what belongs to it, once for all or once for each",
    otherwise: "none",
    repeats: true,
    read: name,
    scope: "model",
  },
  "control-image": {
    value: "FILE",
    help: "the PNG that a ControlNet sees, resized (Lanczos) to width and height; its transparent parts become black",
    otherwise: "none",
    repeats: true,
    read: name,
    scope: "picture",
  },
  "control-strength": {
    value: "NUMBER",
    help: "how much a ControlNet adds, 0, which leaves it out, to 10",
    otherwise: "1",
    repeats: true,
    read: controlStrength,
    scope: "picture",
  },
  "control-start": {
    value: "NUMBER",
    help: "the share of the steps after which a ControlNet begins, 0 to 1; before it costs nothing",
    otherwise: "0",
    repeats: true,
    read: fraction,
    scope: "picture",
  },
  "control-end": {
    value: "NUMBER",
    help: "the share of the steps after which a ControlNet ends, 0 to 1; afterwards it costs nothing",
    otherwise: "1",
    repeats: true,
    read: fraction,
    scope: "picture",
  },
  "canny": {
    value: "LOW,HIGH",
    help: "makes a control image its edges, as OpenCV's Canny with these thresholds finds them, mostly 100,200; none " +
      "leaves one as it is",
    otherwise: "none",
    repeats: true,
    read: thresholds,
    scope: "picture",
  },
  "negative-prompt": {
    letter: "n",
    value: "TEXT",
    help: "what to steer away from",
    default: "",
    read: promptText,
    scope: "picture",
  },
  "prompt-file": {
    value: "FILE",
    help: "a text file that holds the prompt",
    otherwise: "the argument, or standard input",
    read: name,
  },
  "prompt-syntax": {
    help:
      "a1111 reads (more), [less], (as said:1.2), \\( and BREAK; plain reads every character as text, as diffusers does",
    default: "a1111",
    ...oneOf("a1111", "plain"),
    scope: "picture",
  },
  "long-prompt": {
    help: "chunk reads a prompt that is too long in pieces, as a1111 does; truncate cuts it, as diffusers does",
    otherwise: "chunk; the embedded model's is truncate",
    ...oneOf("chunk", "truncate"),
    scope: "picture",
  },
  "clip-skip": {
    value: "NUMBER",
    help: "which layer of the text encoder is read, counted as a1111 does, not as diffusers: 1 is the last, " +
      "or in SDXL the last but one",
    default: "1",
    read: wholeNumber(1, 100),
    scope: "picture",
  },
  "seed": {
    value: "NUMBER",
    help: "seed of the noise, 0 to 2^64 - 1",
    otherwise: "random, and printed; batch counts from 0",
    read: seed,
    scope: "picture",
  },
  "steps": {
    letter: "s",
    value: "NUMBER",
    help: "denoising steps, 1 to 1000",
    otherwise: "the model's",
    read: wholeNumber(1, 1000),
    scope: "picture",
  },
  "guidance": {
    value: "NUMBER",
    help: "how closely to follow the prompt; 1 is unguided",
    otherwise: "the model's",
    read: finiteNumber,
    scope: "picture",
  },
  "guidance-rescale": {
    value: "NUMBER",
    help: "how much of the contrast that guidance adds is taken back, 0 to 1; 0.7 suits models of zero terminal SNR",
    otherwise: "0",
    read: fraction,
    scope: "picture",
  },
  "width": side,
  "height": side,
  "original-width": {
    ...original,
    help: "SDXL: pixels that the picture is to look as if it had been scaled from; small ones blur it",
    otherwise: "its width",
    read: wholeNumber(1, LIMITS.original),
  },
  "original-height": {
    ...original,
    help: "SDXL: as --original-width",
    otherwise: "its height",
    read: wholeNumber(1, LIMITS.original),
  },
  "crop-left": {
    ...original,
    help: "SDXL: pixels that are to look cut off on the left; 0 centres what is drawn",
    otherwise: "0",
    read: wholeNumber(0, LIMITS.original),
  },
  "crop-top": {
    ...original,
    help: "SDXL: as --crop-left, at the top",
    otherwise: "0",
    read: wholeNumber(0, LIMITS.original),
  },
  "init-image": {
    value: "FILE",
    help: "a PNG to start from, resized (Lanczos) to width and height; its transparent parts become white",
    otherwise: "noise",
    read: name,
    scope: "picture",
  },
  "strength": {
    value: "NUMBER",
    help: "how much of the init image is made anew, above 0 to 1",
    otherwise: "0.8, with a mask 1",
    read: share,
    scope: "picture",
  },
  "mask": {
    value: "FILE",
    help: "a PNG, white where the init image is painted over; its black or transparent parts keep the image",
    otherwise: "all is painted",
    read: name,
    scope: "picture",
  },
  "hires": {
    value: "SCALE",
    help: "draw, enlarge and draw over it again, 1 to 8 times as wide and high (a1111's hires fix)",
    otherwise: "drawn once",
    read: times,
    scope: "picture",
  },
  "hires-strength": {
    value: "NUMBER",
    help: "how much is made anew at the larger size, above 0 to 1",
    otherwise: "0.7",
    read: share,
    scope: "picture",
  },
  "hires-steps": {
    value: "NUMBER",
    help: "denoising steps at the larger size, of which the share --hires-strength is run; 1 to 1000",
    otherwise: "as --steps",
    read: wholeNumber(1, 1000),
    scope: "picture",
  },
  "hires-upscaler": {
    value: "latent|lanczos|FILE",
    help: "what enlarges: latent the latent (bilinear), lanczos the picture, or an ESRGAN (.safetensors) the picture",
    otherwise: "latent",
    read: name,
    scope: "picture",
  },
  "upscale-model": {
    value: "FILE",
    help: "an ESRGAN (.safetensors) that enlarges the picture in the end, as denoise upscale does",
    otherwise: "as it is drawn",
    read: name,
    scope: "picture",
  },
  "vae-tiling": {
    help: "whether the VAE works in blended tiles, which need less memory; auto: where the whole picture would take " +
      "more than 3 GiB, or more than the GPU can bind at once",
    default: "auto",
    ...oneOf("auto", "on", "off"),
    scope: "picture",
  },
  "scheduler": {
    value: "NAME",
    help: `how noise is removed; ${
      schedulerNames().join(", ")
    }; other tools' names work too: --scheduler help lists them`,
    otherwise: "the model's",
    ...foundIn(schedulerNames(), findScheduler),
    scope: "picture",
  },
  "prediction": {
    help: "what the model predicts, noise (epsilon) or velocity (v), for a checkpoint whose file does not tell",
    otherwise: "the model's",
    ...oneOf("epsilon", "v"),
    scope: "picture",
  },
  "eta": {
    value: "NUMBER",
    help: "fresh noise that ddim adds each step, 0 to 1",
    otherwise: "0",
    read: fraction,
    scope: "picture",
  },
  "rng": {
    help: "noise of torch's generator on the cpu or on cuda",
    default: "cpu",
    ...oneOf("cpu", "cuda"),
    scope: "picture",
  },
  "precision": {
    help: "weights as f16 or f32; auto as the model has them",
    default: "auto",
    ...oneOf("auto", "f16", "f32"),
    scope: "model",
  },
  "kernels": {
    value: "NAMES",
    help: "which of the paper's optimizations run: auto those that pay, paper all, baseline none; after commas those " +
      "that run besides, of softmax, normalization, gelu, flash, winograd and matrices: baseline,flash,winograd",
    default: "auto",
    read: readOptimizations,
    scope: "model",
  },
  "webgpu": {
    help:
      "which WebGPU runs the kernels: Deno's own, or Dawn, which reaches tensor cores and is downloaded (51 MB) when " +
      "it is first asked for",
    otherwise: "what DENOISE_WEBGPU says, or deno",
    ...oneOf("deno", "dawn"),
  },
  "memory": {
    value: "GIB",
    help:
      "GPU memory that must suffice, 0.1 to 1024: parts of a model that do not fit at once are read when their stage " +
      "comes; a stage that takes more by itself is refused",
    otherwise: "7, and more where a stage takes more",
    read: gibibytes,
  },
  "tune": { help: "time kernels for 2 s and keep the fastest, even on GPUs with built-in choices" },
  "output": {
    letter: "o",
    value: "FILE",
    help: "where the PNG goes, or bench's chart; a file that is there is replaced; {index}, {seed} and {slug} of the " +
      "prompt, or of the file to upscale, are filled in; - is stdout",
    otherwise: "a new file named after prompt and seed; batch {index}-{seed}-{slug}.png; upscale after the file",
    read: name,
    scope: "line",
  },
  "no-metadata": { help: "do not write into the PNG how it was made", scope: "line" },
  "from": {
    value: "FILE",
    help: "make a picture again: prompt and options are read from the PNG, except those that are given",
    otherwise: "none",
    read: name,
  },
  "trust-paths": { help: "with --from, open the model and the files that the PNG names; else they must be given" },
  "count": {
    value: "NUMBER",
    help: "pictures of a prompt, with the seeds that follow; 1 to 100000",
    default: "1",
    read: wholeNumber(1, 100_000),
    scope: "line",
  },
  "grid": {
    value: "FILE",
    help: "a contact sheet of all pictures of the run, as PNG; a file that is there is replaced",
    otherwise: "none",
    read: name,
  },
  "preview": {
    value: "FILE",
    help: "a PNG of what the picture will look like, written again every few steps; the picture stays the same",
    otherwise: "none",
    read: name,
  },
  "preview-every": {
    value: "NUMBER",
    help: "steps from one preview to the next, 1 to 1000",
    default: "5",
    read: wholeNumber(1, 1000),
  },
  "preview-vae": {
    value: "DIR|FILE",
    help: "a VAE that decodes previews, best a tiny autoencoder (TAESD)",
    otherwise: "previews are approximated, in a moment",
    read: name,
  },
  "show": { help: "show the picture in the terminal, if it can (kitty, Ghostty, iTerm2, WezTerm ...)" },
  "skip-existing": { help: "make only pictures whose files are not there yet" },
  "no-clobber": { help: "replace no file that is there: exit with 2 before anything is drawn" },
  "shard": { value: "I/N", help: "batch: make only the I-th of every N lines", otherwise: "all lines", read: shard },
  "dry-run": { help: "batch: say which pictures would be made, without making them; no GPU is opened" },
  "continue-on-error": {
    help:
      "batch: report a picture that fails as a line of JSON and go on; the exit code is that of the failures, or 1 " +
      "where they differ",
  },
  "random-weights": {
    help: "bench: measure a model of full size with computed weights: Stable Diffusion 1.4, or XL base 1.0",
    otherwise: "the model's",
    ...oneOf("sd14", "sdxl"),
  },
  "check": { help: "bench: compare each stage of --random-weights with what diffusers computed" },
  "ablation": { help: "bench: measure one optimization of the paper after the other" },
  "list-kernels": { help: "bench: measure every kernel that could run an operation" },
  "revision": {
    value: "NAME",
    help: "pull: the branch, tag or commit to download; --model ORGANISATION/NAME@NAME draws with it",
    otherwise: "main",
    read: name,
  },
  "offline": { help: "pull: do not use the network, only say where the model is" },
  "progress": {
    help: "auto redraws a line on a terminal and writes ten lines elsewhere; json writes a line for each step",
    default: "auto",
    ...oneOf("auto", "json", "none"),
  },
  "json": { help: "print the result, or the error, as JSON" },
  "quiet": { letter: "q", help: "print nothing but the result and errors" },
  "help": { letter: "h", help: "print this help" },
  "version": { help: "print the version" },
} as const satisfies Record<string, OptionEntry>;

export type OptionName = keyof typeof options;

export const optionNames = Object.keys(options) as readonly OptionName[];

/** The values that were given, and the defaults of those that were not. */
export type OptionValues = {
  readonly [Name in OptionName]: OptionValue<(typeof options)[Name]>;
};

type OptionValue<Entry> = Entry extends { read: (value: string) => infer Value }
  ? Entry extends { repeats: true } ? readonly Value[] : Entry extends { default: string } ? Value : Value | undefined
  : boolean;

/** Whether the option's value can be the path of a file or a folder. */
export function namesFile(name: OptionName): boolean {
  return /FILE|DIR/.test(optionEntry(name).value ?? "");
}

const entries = new Map<OptionName, OptionEntry>(
  Object.entries<OptionEntry>(options).map(([name, entry]) => {
    const value = entry.choices && { value: entry.choices.join("|") };
    return [name as OptionName, { ...value, ...entry }];
  }),
);

/** The table row of an option, as its readers see it. */
export function optionEntry(name: OptionName): OptionEntry {
  return entries.get(name)!;
}
