/**
 * `denoise upscale`: pictures enlarged by a net.
 * @module
 */
import { basename, resolve } from "@std/path";
import type { AdapterInfo, UpscalerFile } from "../pipeline/mod.ts";
import { LIMITS } from "../pipeline/limits.ts";
import type { Image } from "../pipeline/request.ts";
import type { Given } from "./commands.ts";
import { deviceOptions, providerOf } from "./dawn.ts";
import { type Environment, type LoadedUpscaler, type PipelineModule, say } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { infoOf, Places } from "./files.ts";
import { ImageFiles } from "./init_image.ts";
import { AHEAD, checkNames, checkPlace, checkPlaces, type Placing, type Series } from "./jobs.ts";
import { selectionOf } from "./kernel_timings.ts";
import { addEnlarging } from "./metadata.ts";
import { fillIn, readTemplate } from "./names.ts";
import { writePicture } from "./output.ts";
import { encodePng, type PngText, readTexts } from "./png.ts";
import { StatusLine } from "./progress.ts";
import { readBytes, readingOf } from "./reading.ts";
import { json, name } from "./terminal.ts";

/** The GPU, and the upscaler's weights on it. */
interface Loaded {
  readonly adapter: AdapterInfo;
  readonly upscaler: LoadedUpscaler;
}

/** What pictures are read and written with. */
interface Run extends Placing {
  readonly given: Given;
  readonly environment: Environment;
  readonly module: PipelineModule;
  readonly file: UpscalerFile;
  readonly images: ImageFiles;
}

/** A file that is going to be enlarged. */
interface Enlargement extends Series {
  readonly source: string;
}

/** Makes the larger pictures, writes each and prints where it is. What can be refused without the GPU is refused first. */
export async function execute(given: Given, environment: Environment): Promise<void> {
  const { values, positionals } = given;
  checkUsage(given);
  const { folder } = environment;
  const module = await environment.loadPipeline();
  const file = module.openUpscaler(resolve(folder, values.model!));
  const images = new ImageFiles(folder);
  const run: Run = { given, environment, module, file, images, values, folder, places: new Places() };
  const plan = positionals.map((path, i) => plannedFor(path, i + 1, run));
  checkNames(plan, values, folder);
  checkPlaces(plan, run);
  for (const { source } of plan.slice(0, AHEAD)) readPicture(source, run);

  await using resources = new AsyncDisposableStack();
  let loaded: Loaded | undefined;
  for (const planned of plan) {
    const { source, index } = planned;
    const job = { ...planned, name: fillIn(planned.pattern, planned) };
    if (values["skip-existing"] && infoOf(resolve(folder, job.name))) {
      if (values.json) environment.stdout.write(json({ schema: 1, status: "skipped", index, path: job.name }));
      else say(environment, `${job.name} is there already`);
      continue;
    }
    if (plan.length > 1) say(environment, `Picture ${index} of ${plan.length}: ${source}`);
    checkPlace(job, run);
    const { image, texts } = readPicture(source, run);
    loaded ??= await load(run, resources);
    const { adapter, upscaler } = loaded;
    const start = performance.now();
    const { width, height, ...larger } = await enlarge(upscaler, image, environment);
    const told = values["no-metadata"] ? [] : addEnlarging(texts, { upscaler: file, source: image.file!, adapter });
    const png = encodePng({ width, height, ...larger }, told);
    const path = writePicture(job, png, run);
    const milliseconds = performance.now() - start;
    const seconds = (milliseconds / 1000).toFixed(1);
    say(environment, `${image.width}x${image.height} became ${width}x${height} in ${seconds} s`);
    if (values.json) {
      const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", png)).toHex();
      const made = { status: "ok", index, path, sha256, width, height, source: image.file };
      const means = { model: { path: file.path, sha256: file.sha256, scale: file.scale }, adapter, milliseconds };
      environment.stdout.write(json({ schema: 1, ...made, ...means }));
    } else {
      environment.stdout.write(path === "-" ? png : name(path, environment.stdout));
    }
  }
}

function checkUsage({ positionals, values: { model, output = "", json } }: Given): void {
  if (positionals.length === 0) throw new UsageError("Which picture? denoise upscale FILE --model FILE");
  if (model === undefined) throw new UsageError("--model says with which upscaler: denoise upscale FILE --model FILE");
  if (/\{seed\}/.test(output)) throw new UsageError("--output cannot fill in {seed}: it knows {index} and {slug}");
  if (output !== "-") return;
  if (json) throw new UsageError("--json and --output - both use standard output: choose one");
  if (positionals.length > 1) {
    throw new UsageError(`--output - takes one picture, and there are ${positionals.length}`);
  }
}

/** The picture that `source` becomes, by default called as it is, and how many times as large. */
function plannedFor(source: string, index: number, { given, file, values }: Run): Enlargement {
  const { output } = values;
  const stem = basename(source).replace(/\.png$/i, "");
  return {
    index,
    seed: 0n,
    source,
    spec: { prompt: stem, options: given.options, values },
    pattern: output === undefined ? `${stem}-x${file.scale}.png` : readTemplate(output, stem),
    replaces: output !== undefined || values["skip-existing"],
  };
}

/** @throws {UsageError} when the file cannot be read, or would become too large. */
function readPicture(
  path: string,
  { images, file, folder, module }: Run,
): { readonly image: Image; readonly texts: readonly PngText[] } {
  const image = images.read(path, { background: 255 });
  const refusal = module.refuseSize(file, image);
  if (refusal !== undefined) throw new UsageError(`${path} cannot be enlarged: ${refusal}`);
  return { image, texts: readingOf(path, () => readTexts(readBytes(resolve(folder, path), LIMITS.pngBytes))) };
}

async function load({ values, environment, module, file }: Run, resources: AsyncDisposableStack): Promise<Loaded> {
  const { precision, kernels } = values;
  const { Gpu, Upscaler } = module;
  const options = await deviceOptions(providerOf(values, environment.variable), environment);
  const gpu = resources.use(await Gpu.open(options));
  const selection = selectionOf(values, environment);
  const upscaler = resources.use(await Upscaler.load(gpu, file, { precision, kernels, selection }));
  return { adapter: gpu.adapter, upscaler };
}

/** Tells how many tiles are done, where there are several. */
async function enlarge(upscaler: LoadedUpscaler, image: Image, environment: Environment): Promise<Image> {
  const line = new StatusLine(environment);
  try {
    return await upscaler.enlarge(image, {
      onTile: (done, tiles) => tiles > 1 && line.show(`Tile ${done} of ${tiles}`),
    });
  } finally {
    line.breakLine();
  }
}
