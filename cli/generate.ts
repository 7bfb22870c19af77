/**
 * `denoise PROMPT`: a picture, or several that differ by their seeds.
 * @module
 */
import type { CompleteRequest, Model } from "../pipeline/mod.ts";
import { commands, type Given } from "./commands.ts";
import { type Environment, say } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { Places } from "./files.ts";
import { checkNames, checkPlaces, createSeries } from "./jobs.ts";
import { upscalersOf } from "./hires.ts";
import { checkRecords } from "./loras.ts";
import { filesOf, optionsOf, readMetadata, type Recipe } from "./metadata.ts";
import { readValues } from "./parse.ts";
import { drawSeed, readPrompt, type Spec } from "./request.ts";
import { Session } from "./session.ts";
import { suggest } from "./suggestion.ts";

/** Makes the pictures, writes each and prints where it is. What can be refused without the GPU is refused first. */
export async function execute(given: Given, environment: Environment): Promise<number> {
  const start = performance.now();
  const { folder } = environment;
  const { from } = given.values;
  checkUsage(given);
  const recipe = from === undefined ? undefined : readMetadata(from, folder);
  const { lost, ...spec } = await readSpec(given, environment, recipe);
  const { values } = spec;
  const seed = values.seed ?? drawSeed();
  // A rerun that skips what is there must find it under its own name.
  const naming = { template: "{slug}-{seed}.png", replaces: values["skip-existing"] };
  const series = createSeries(spec, { index: 1, seed, ...naming });
  checkNames([series], values, folder);
  const places = new Places();
  checkPlaces([series], { values, folder, places });

  await using session = await Session.open({ values, environment, places, start });
  const request = await session.complete(series);
  const changed = changedFiles(recipe, request);
  const other = otherVae(recipe, session.model, from);
  checkUpscalers(recipe, request, from);
  if (recipe?.loras !== undefined) checkRecords(request, recipe.loras, from!);
  say(environment, `Seed ${seed}${values.count === 1 ? "" : ` to ${seed + BigInt(values.count - 1)}`}`);
  for (const setting of lost) say(environment, `Not taken from ${from}: ${setting}`);
  if (recipe?.postprocessing !== undefined) say(environment, `Not done to it again: ${recipe.postprocessing}`);
  for (const path of changed) say(environment, `${path} has changed since ${from} was made`);
  if (other) say(environment, `${other} is not the VAE that ${from} was made with`);
  const code = await session.draw([series]);
  if (recipe?.adapter !== undefined && session.adapter !== undefined) {
    const { description, webgpu } = session.adapter;
    const [then, now] = [describeGpu(recipe.adapter, recipe.webgpu), describeGpu(description, webgpu)];
    if (then !== now) say(environment, `${from} was made on ${then}; ${now} rounds differently`);
  }
  return code;
}

/** What decides how arithmetic is rounded: a GPU, and whose WebGPU compiles the kernels, of whichever version. */
function describeGpu(adapter: string, webgpu = "Deno"): string {
  return `${adapter} with ${webgpu.split(" ")[0]}'s WebGPU`;
}

/** With `--from`, that picture's prompt and options fill in what is not given; `lost` are those that cannot. */
async function readSpec(
  given: Given,
  environment: Environment,
  recipe: Recipe | undefined,
): Promise<Spec & Pick<Recipe, "lost">> {
  const { from, "prompt-file": file, "trust-paths": trusts } = given.values;
  if (recipe === undefined || from === undefined) {
    if (trusts) throw new UsageError("--trust-paths requires --from, whose paths it trusts");
    return { prompt: await readPrompt(given, environment), ...given, lost: [] };
  }
  const says = given.positionals.length > 0 || file !== undefined;
  const prompt = says ? await readPrompt(given, environment) : recipe.prompt;
  const { listEmbedded } = await environment.loadPipeline();
  const own = optionsOf(recipe, { from, given: given.options, embedded: listEmbedded(), trusts });
  const options = { ...own.options, ...given.options };
  try {
    return { prompt, options, values: readValues(options), lost: own.lost };
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause;
    throw new UsageError(`${from} cannot be made again: ${cause.message}`, { cause });
  }
}

/**
 * The VAE's path, where it is not the one that the recipe was made with and somebody chose it.
 *
 * @throws {UsageError} when it has the recipe's name and other bytes.
 */
function otherVae(
  recipe: Recipe | undefined,
  { givenVae }: Pick<Model, "givenVae">,
  from: string | undefined,
): string | undefined {
  if (recipe?.options.vae === undefined || givenVae === undefined) return undefined;
  const then = Object.values(recipe.files ?? {});
  const other = Object.entries(givenVae.hashes()).find(([, sha256]) => !then.includes(sha256));
  if (other === undefined || givenVae.path !== recipe.options.vae) return other && givenVae.path;
  const [path, sha256] = other;
  throw new UsageError(`${path} is another file than the one that ${from} was made with: its SHA-256 is ${sha256}`);
}

/** @throws {UsageError} when an upscaler has the recipe's name and other bytes. */
function checkUpscalers(recipe: Recipe | undefined, request: CompleteRequest, from: string | undefined): void {
  for (const { name, option, file: { sha256 } } of upscalersOf(request)) {
    const then = recipe?.options[option] === name ? recipe.files?.[name] : undefined;
    if (then === undefined || then === sha256) continue;
    throw new UsageError(`${name} is another file than the one that ${from} was made with: its SHA-256 is ${sha256}`);
  }
}

/** The files that both begin with, and whose bytes have changed. */
function changedFiles(recipe: Recipe | undefined, request: CompleteRequest): string[] {
  const then = new Map(Object.entries(recipe?.files ?? {}));
  return Object.entries(filesOf(request, {}) ?? {}).flatMap(([path, sha256]) =>
    then.get(path) === undefined || then.get(path) === sha256 ? [] : [path]
  );
}

function checkUsage({ positionals: [first = "", ...more], values: { output, json, count } }: Given): void {
  // A word of its own before a file, as commands are.
  const meant = more.length > 0 && suggest(first, commands.map(({ name }) => name));
  if (meant) throw new UsageError(`There is no command ${first}: did you mean ${meant}? A prompt needs quotes`);
  if (output !== "-") return;
  if (json) throw new UsageError("--json and --output - both use standard output: choose one");
  if (count > 1) throw new UsageError(`--output - takes one picture, and --count asks for ${count}`);
}
