/**
 * What this program promises, and the tests that hold it: `deno run -A tests/promises.ts` prints both, and README has
 * the table.
 * @module
 */
import { join } from "@std/path";

/** A promise, and by file below `tests` the names of the tests that hold it. */
type Promised = readonly [promise: string, tests: Readonly<Record<string, RegExp>>];

const ALL = /^/;

const PROMISES: readonly Promised[] = [
  ["A malformed model file never crashes, hangs, is half-used, or leads out of its folder", {
    "weights/safetensors": ALL,
    "weights/safetensors_header": ALL,
    "weights/shards": ALL,
    "weights/read_async": /shrinks/,
    "weights/vae": /refused|link/,
    "pipeline/describe_weights": /refused/,
    "weights/embedding": /refused/,
    "weights/(controlnet|lora)": /refused|read as it was/,
    "weights/esrgan": /refused/,
    "weights/model": ALL,
    "pipeline/config": ALL,
    "pipeline/tokenizer": /unusable|own rules|inherits/,
    "pipeline/(controlnet|given_vae)": /model.* is refused/,
    "pipeline/model": /does not fit|do not fit|no picture of the model/,
    "pipeline/schedulers/config": /^refused|whatever number|wrong kind/,
  }],
  ["Any bytes give a model or a clear error", { "weights/safetensors_fuzz": ALL, "weights/lora": /mutated/ }],
  ["Every tensor is used, found and of the right shape; one missing, extra or misshapen is named", {
    "pipeline/check_model": ALL,
    "pipeline/checkpoint": ALL,
    "pipeline/controlnet": /full size|single files/,
    "pipeline/given_vae": /accounted/,
    "pipeline/parameters": /does not fit/,
    "pipeline/small_unets": /single file/,
    "pipeline/upscaler": /accounted/,
    "weights/checkpoint": ALL,
    "weights/controlnet": /become/,
    "weights/esrgan": /names/,
    "weights/ldm_names": ALL,
    "weights/lora": /are named/,
    "weights/lora_names": ALL,
    "weights/names": ALL,
    "weights/vae": /in one file/,
  }],
  ["A download is whole or absent, whatever the hub does; no secret is told", {
    "weights/hub/cache": ALL,
    "weights/hub/listing": ALL,
    "weights/hub/pull": ALL,
    "weights/hub/repository": ALL,
    "cli/pull": ALL,
    "cli/dawn": /fetched|another hash/,
  }],
  ["Each kernel equals its reference at every shape the models use", {
    "kernels/(attention|baseline|convolve|elementwise|epilogue|normalization|recurrence|softmax|texture_product|winograd)":
      ALL,
    "pipeline/(shapes|upload)": ALL,
  }],
  ["Each stage equals PyTorch; the first that differs is named", {
    "pipeline/(compare|controlnet|embedding|emoji|families|hires|lora|optimizations|pipeline|sdxl|small_unets|text_encoder|unet|upscaler|vae)":
      /PyTorch|diffusers/,
    "pipeline/tokenizer": /golden|ids from/,
    "pipeline/schedulers/golden": ALL,
  }],
  ["The same seed is the same picture, and the noise is torch's", {
    "pipeline/random": ALL,
    "pipeline/pipeline": /is one picture/,
    "pipeline/(controlnet|lora)": /come and go|taken back/,
    "pipeline/tuning": ALL,
    "pipeline/least_device": ALL,
    "kernels/probe": ALL,
    "cli/(batch_command|command|controlnet|embedding|from|hires|lora)": /the same (bytes|file)/,
  }],
  ["Different settings draw different pictures", {
    "pipeline/pipeline": /every setting changes/,
    "pipeline/loop": /changes the latent/,
  }],
  ["GPU errors are reported, never swallowed", {
    "kernels/gpu": /refuse|report|lost|explained|failure/,
    "kernels/selection": /refused|lost/,
    "kernels/self_test": /wrong by little/,
    "kernels/dawn": /^Dawn (?:survives|reports)/,
  }],
  ["Numbers that are not finite never become a picture", {
    "pipeline/pipeline": /numbers that are none|leaves float16/,
    "pipeline/image": /not finite/,
    "pipeline/model": /^tiny-\S+ refuses/,
    "pipeline/vae_program": ALL,
    "pipeline/prompt/emphasis": /cancel/,
    "pipeline/schedulers/config": /whatever number/,
  }],
  ["Memory is bounded and given back", {
    "pipeline/residency": ALL,
    "pipeline/pipeline": /no more memory|gives back/,
    "pipeline/parameters": /one layer at a time/,
    "pipeline/prompt": /half a megabyte|hundred|more (?:chunks|vectors)/,
    "kernels/gpu": /memory is counted|4 MiB|at rest/,
    "pipeline/upload": /larger than a piece|left behind/,
    "kernels/scratch": ALL,
    "weights/values": /chunks/,
    "cli/hostile_files": ALL,
    "cli/png": /memory|too large/,
    "pipeline/upscaler": /too large/,
    "cli/plan": /100,000 lines/,
  }],
  ["An output file is whole or absent", {
    "cli/files": ALL,
    "cli/names": /would be the same|a billion/,
    "cli/plan": /two uses|leads to no file|clobber|fails alone|cannot be written/,
    "cli/preview": /cannot be written/,
    "cli/run": /no picture|taken/,
    "cli/command": /a signal/,
  }],
  ["The PNG is valid for other readers, and its texts survive any Unicode", { "cli/png": ALL, "cli/png_text": ALL }],
  ["Exit codes are an interface", {
    "cli/(batch|command|dawn|doctor|pull|run|show_weights|usage)": /exit code|its code/,
  }],
  ["Standard output is data, standard error is for people", {
    "cli/(inline_picture|progress|terminal)": ALL,
    "cli/run": /stdout|stderr|--json|stack/,
    "cli/usage": ALL,
  }],
  ["Ctrl-C ends it at any moment with nothing half-written under a final name", {
    "cli/command": /a signal/,
    "cli/files": /leftovers/,
    "cli/pull": /interrupted or killed/,
  }],
  ["The documented permissions suffice, and each that is missing is named", {
    "cli/(command|pull)": /permission|may not be read/,
  }],
  ["Wrong arguments are explained", {
    "cli/(batch_lines|options|parse|usage)": ALL,
    "cli/(batch|bench|controlnet|embedding|hires|init_image|lora|run|upscale)": /refused|wrong|takes the names/,
    "pipeline/model": /^tiny-\S+ refuses/,
    "pipeline/prompt/(grammar|lora_tags)": /refused|hundred/,
  }],
];

/** The promises with their numbers, and how many cases hold each: a test is one, or as many files as its name says. */
export async function promiseRows(): Promise<string[][]> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", import.meta.filename!, "--names"],
    stderr: "inherit",
  }).output();
  const names: readonly (readonly [file: string, name: string])[] = JSON.parse(new TextDecoder().decode(stdout));
  return PROMISES.map(([promise, tests], i) => {
    const patterns = Object.entries(tests).map(([file, name]) => [new RegExp(`^${file}(_test\\.ts|/)`), name] as const);
    const holds = ([inFile, like]: typeof patterns[number]) =>
      names.filter(([file, name]) => inFile.test(file) && like.test(name));
    const idle = patterns.find((pattern) => holds(pattern).length === 0);
    if (idle) throw new Error(`Promise ${i + 1}: no test is named ${idle[1]} in files named ${idle[0]}`);
    const held = new Set(patterns.flatMap(holds));
    const cases = [...held].reduce((sum, [, name]) => sum + Number(/\b(\d+) mutated files/.exec(name)?.[1] ?? 1), 0);
    return [`${i + 1}`, promise, cases.toLocaleString("en")];
  });
}

/** The tests of all files, by file, without running any. */
async function listTests(): Promise<(readonly [file: string, name: string])[]> {
  const names: (readonly [string, string])[] = [];
  let file = "";
  const note = (test: string | { readonly name: string }, own?: { readonly name?: string }) => {
    names.push([file, typeof test === "string" ? test : test.name || (own?.name ?? "")]);
  };
  Object.assign(Deno, { test: note });
  for (file of testFiles("")) await import(`./${file}`);
  return names;
}

function testFiles(folder: string): string[] {
  return Array.from(Deno.readDirSync(join(import.meta.dirname!, folder))).flatMap(({ name, isDirectory }) => {
    const path = `${folder}${name}`;
    // Those of README ask for this list.
    return isDirectory ? testFiles(`${path}/`) : /_test\.ts$/.test(name) && !/^readme/.test(name) ? [path] : [];
  }).sort();
}

if (import.meta.main) {
  const rows = Deno.args[0] === "--names"
    ? JSON.stringify(await listTests())
    : (await promiseRows()).map(([number, promise, cases]) => `${number}. ${promise}: ${cases}`).join("\n");
  await new Blob([`${rows}\n`]).stream().pipeTo(Deno.stdout.writable);
}
