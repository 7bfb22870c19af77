/**
 * `denoise PROMPT`: a picture, or several that differ by their seeds.
 * @module
 */
import { resolve } from "@std/path";
import type { Given } from "./commands.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { checkNames, checkPlaces, throwFirst } from "./job_checks.ts";
import type { OptionValues } from "./options.ts";
import { jobsOf } from "./picture_job.ts";
import { drawSeed } from "./picture_request.ts";
import { Series } from "./picture_series.ts";
import { readPrompt } from "./prompt.ts";
import { Studio } from "./studio.ts";
import { checkWritable } from "./whole_file.ts";

/** Makes the pictures, writes each and prints where it is. What can be refused without the GPU is refused first. */
export async function execute({ values, options, positionals }: Given, environment: Environment): Promise<number> {
  const start = performance.now();
  checkUsage(values);
  const prompt = await readPrompt(positionals, environment);
  const seed = values.seed ?? drawSeed();
  const order = { index: 1, values, options, prompt, seed };
  // A rerun that leaves out what is there must find it under its own name.
  const jobs = jobsOf({ ...order, template: "{slug}-{seed}.png", replaces: values["skip-existing"] });
  checkNames(jobs);
  throwFirst(checkPlaces(jobs, environment.folder));
  if (values.grid !== undefined) checkWritable(resolve(environment.folder, values.grid));
  environment.stderr.write(`Seed ${seed}${values.count === 1 ? "" : ` to ${jobs.at(-1)!.seed}`}\n`);

  await using studio = await Studio.open(values, environment);
  return await new Series(studio, environment, { values, start }).draw(jobs);
}

function checkUsage({ output, json, count }: OptionValues): void {
  if (output !== "-") return;
  if (json) throw new UsageError("--json and --output - both want standard output: choose one");
  if (count > 1) throw new UsageError(`--output - takes one picture, and --count asks for ${count}`);
}
