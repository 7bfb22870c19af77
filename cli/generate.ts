/**
 * `denoise PROMPT`: one picture.
 * @module
 */
import { join, resolve } from "@std/path";
import type { Given } from "./commands.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { freeName, slug } from "./picture_name.ts";
import { drawSeed } from "./picture_request.ts";
import { encodePng } from "./png.ts";
import { createProgress } from "./progress.ts";
import { readPrompt } from "./prompt.ts";
import { Studio } from "./studio.ts";
import { checkWritable, exists, writeWhole } from "./whole_file.ts";

/** Makes the picture, writes it and prints where it is. What can be refused without the GPU is refused first. */
export async function execute({ values, positionals }: Given, environment: Environment): Promise<void> {
  const start = performance.now();
  const { stdout, stderr, folder } = environment;
  const toStdout = values.output === "-";
  if (toStdout && values.json) {
    throw new UsageError("--json and --output - both want standard output: choose one");
  }
  const prompt = await readPrompt(positionals, environment);
  const seed = values.seed ?? drawSeed();
  if (!toStdout) checkWritable(resolve(folder, choosePath()));
  stderr.write(`Seed ${seed}\n`);

  await using studio = await Studio.open(values, environment);
  const request = studio.request(values, prompt, seed);
  for (const line of await studio.warnings(request)) stderr.write(`${line}\n`);
  const { image, timings, peakBytes, adapter } = await studio.draw(request, createProgress(environment));
  const png = encodePng(image);
  if (toStdout) return stdout.write(png);
  const path = choosePath();
  writeWhole(resolve(folder, path), png);
  if (!values.json) return stdout.write(`${path}\n`);
  const { model } = studio;
  const document = {
    schema: 1,
    path,
    sha256: new Uint8Array(await crypto.subtle.digest("SHA-256", png)).toHex(),
    model: model.name,
    ...request,
    scheduler: request.scheduler ?? model.config.scheduler._class_name,
    // A string: most readers of JSON round numbers above 2^53.
    seed: `${seed}`,
    precision: values.precision,
    kernels: values.kernels,
    adapter,
    timings: { ...timings, total: performance.now() - start },
    peakBytes,
  };
  stdout.write(`${JSON.stringify(document)}\n`);

  function choosePath(): string {
    const taken = (name: string) => exists(join(folder, name));
    return values.output ?? freeName(`${slug(prompt)}-${seed}`, taken);
  }
}
