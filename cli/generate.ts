/**
 * `denoise PROMPT`: a picture, or several that differ by their seeds.
 * @module
 */
import type { Request } from "../pipeline/request.ts";
import type { Given } from "./command.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { checkNames, checkOtherFiles, checkPlaces, throwFirst } from "./job_checks.ts";
import type { OptionValues } from "./options.ts";
import { readValues } from "./parse.ts";
import { jobsOf } from "./picture_job.ts";
import { filesOf, readMetadata, type Recipe } from "./picture_metadata.ts";
import { drawSeed } from "./picture_request.ts";
import { printable } from "./printable.ts";
import { Series } from "./picture_series.ts";
import { readPrompt } from "./prompt.ts";
import { Studio } from "./studio.ts";

/** Makes the pictures, writes each and prints where it is. What can be refused without the GPU is refused first. */
export async function execute(given: Given, environment: Environment): Promise<number> {
  const start = performance.now();
  const { stderr, folder } = environment;
  const say = (line: string) => stderr.write(`${printable(line)}\n`);
  checkUsage(given.values);
  const { recipe, ...asked } = follow(given, folder);
  const { values, options } = asked;
  const prompt = await readPrompt(asked, environment);
  const seed = values.seed ?? drawSeed();
  const order = { index: 1, values, options, prompt, seed };
  // A rerun that leaves out what is there must find it under its own name.
  const jobs = jobsOf({ ...order, template: "{slug}-{seed}.png", replaces: values["skip-existing"] });
  checkNames(jobs);
  throwFirst(checkPlaces(jobs, folder));
  checkOtherFiles(values, folder);
  say(`Seed ${seed}${values.count === 1 ? "" : ` to ${jobs.at(-1)!.seed}`}`);
  for (const setting of recipe?.lost ?? []) say(`${values.from} has what cannot be made again: ${setting}`);

  await using studio = await Studio.open(values, environment);
  for (const path of changedFiles(recipe, studio.request(jobs[0]!))) {
    say(`${path} has changed since ${values.from} was made`);
  }
  const code = await new Series(studio, environment, { values, start }).draw(jobs);
  if (recipe?.adapter !== undefined && studio.adapter !== undefined && recipe.adapter !== studio.adapter) {
    say(`${values.from} was made on ${recipe.adapter}; ${studio.adapter} rounds differently`);
  }
  return code;
}

/** The files that both begin with and that had other bytes then. */
function changedFiles(recipe: Recipe | undefined, request: Request): string[] {
  const now = filesOf(request) ?? {};
  return Object.entries(recipe?.files ?? {}).flatMap(([path, sha256]) =>
    now[path] === undefined || now[path] === sha256 ? [] : [path]
  );
}

/** With `--from`: prompt and options of that picture, below those that were given. */
function follow(given: Given, folder: string): Given & { readonly recipe?: Recipe } {
  const { from } = given.values;
  if (from === undefined) return given;
  const recipe = readMetadata(from, folder);
  const said = Object.entries(given.options).filter(([, value]) => value !== undefined && value !== false);
  const options = { ...given.options, ...recipe.options, ...Object.fromEntries(said) };
  const own = given.positionals.length === 0 && given.values["prompt-file"] === undefined;
  const positionals = own ? [recipe.prompt] : given.positionals;
  try {
    return { values: readValues({ options }), options, positionals, recipe };
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause;
    throw new UsageError(`${from} cannot be made again: ${cause.message}`, { cause });
  }
}

function checkUsage({ output, json, count }: OptionValues): void {
  if (output !== "-") return;
  if (json) throw new UsageError("--json and --output - both want standard output: choose one");
  if (count > 1) throw new UsageError(`--output - takes one picture, and --count asks for ${count}`);
}
