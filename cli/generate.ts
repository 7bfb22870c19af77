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
import { checkRecords } from "./added_files.ts";
import { embeddingsOf } from "./embeddings.ts";
import { upscalersOf } from "./hires.ts";
import { lorasOf } from "./loras.ts";
import { optionsOf, readMetadata, type Recipe } from "./metadata.ts";
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
  const others = otherFiles(recipe, session.model, from);
  checkControlImages(recipe, request, from);
  checkUpscalers(recipe, request, from);
  if (recipe !== undefined) {
    checkRecords("LoRA", lorasOf(request), { then: recipe.loras, from: from! });
    checkRecords("embedding", embeddingsOf(request), { then: recipe.embeddings, from: from! });
  }
  say(environment, `Seed ${seed}${values.count === 1 ? "" : ` to ${seed + BigInt(values.count - 1)}`}`);
  for (const setting of lost) say(environment, `Not taken from ${from}: ${setting}`);
  if (recipe?.postprocessing !== undefined) say(environment, `Not done to it again: ${recipe.postprocessing}`);
  for (const path of changed) say(environment, `${path} has changed since ${from} was made`);
  for (const other of others) say(environment, other);
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
 * In words, which VAE and ControlNets are not those that the recipe was made with, where somebody chose them.
 *
 * @throws {UsageError} when one has the recipe's name and other bytes.
 */
function otherFiles(
  recipe: Recipe | undefined,
  { givenVae, controlNets }: Pick<Model, "givenVae" | "controlNets">,
  from: string | undefined,
): readonly string[] {
  const kinds = [
    ["VAE", recipe?.options.vae, givenVae ? [givenVae] : []],
    ["ControlNet", recipe?.options.controlnet, controlNets.map(({ given }) => given)],
  ] as const;
  const then = Object.values(recipe?.files ?? {});
  return kinds.flatMap(([title, named, all]) => {
    return (named === undefined ? [] : all).flatMap(({ path, hashes }) => {
      const other = Object.entries(hashes()).find(([, sha256]) => !then.includes(sha256));
      if (other === undefined) return [];
      if ([named].flat().includes(path)) throw anotherFile(other, from);
      return [`${path} is not the ${title} that ${from} was made with`];
    });
  });
}

/** @throws {UsageError} when an upscaler has the recipe's name and other bytes. */
function checkUpscalers(recipe: Recipe | undefined, request: CompleteRequest, from: string | undefined): void {
  for (const { name, option, file: { sha256 } } of upscalersOf(request)) {
    const then = recipe?.options[option] === name ? recipe.files?.[name] : undefined;
    if (then !== undefined && then !== sha256) throw anotherFile([name, sha256], from);
  }
}

/** @throws {UsageError} when a control image has the recipe's name and other bytes. */
function checkControlImages(
  recipe: Recipe | undefined,
  { controls = [] }: CompleteRequest,
  from: string | undefined,
): void {
  const then = new Map(Object.entries(recipe?.files ?? {}));
  for (const { image: { file } } of controls) {
    if (file && (then.get(file.path) ?? file.sha256) !== file.sha256) throw anotherFile([file.path, file.sha256], from);
  }
}

function anotherFile([path, sha256]: readonly [path: string, sha256: string], from: string | undefined): UsageError {
  return new UsageError(
    `${path} is another file than the one that ${from} was made with: its SHA-256 is ${sha256}`,
  );
}

/** The init image and its mask, where both begin with them and their bytes have changed. */
function changedFiles(recipe: Recipe | undefined, { init }: CompleteRequest): string[] {
  const then = new Map(Object.entries(recipe?.files ?? {}));
  return [init?.image.file, init?.mask?.file].flatMap((file) => {
    if (file === undefined) return [];
    return (then.get(file.path) ?? file.sha256) === file.sha256 ? [] : [file.path];
  });
}

function checkUsage({ positionals: [first = "", ...more], values: { output, json, count } }: Given): void {
  // A word of its own before a file, as commands are.
  const meant = more.length > 0 && suggest(first, commands.map(({ name }) => name));
  if (meant) throw new UsageError(`There is no command ${first}: did you mean ${meant}? A prompt needs quotes`);
  if (output !== "-") return;
  if (json) throw new UsageError("--json and --output - both use standard output: choose one");
  if (count > 1) throw new UsageError(`--output - takes one picture, and --count asks for ${count}`);
}
