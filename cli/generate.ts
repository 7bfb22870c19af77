/**
 * `denoise PROMPT`: one picture.
 * @module
 */
import { join, resolve } from "@std/path";
import type { GenerateEvent, Request } from "../pipeline/request.ts";
import { scheduleFor } from "../pipeline/schedulers/mod.ts";
import type { Tokenizer } from "../pipeline/tokenizer.ts";
import type { Given } from "./commands.ts";
import type { Environment, PipelineModule } from "./environment.ts";
import { UsageError } from "./errors.ts";
import type { OptionValues } from "./options.ts";
import { freeName, slug } from "./picture_name.ts";
import { encodePng } from "./png.ts";
import { createProgress, type Step } from "./progress.ts";
import { readPrompt } from "./prompt.ts";
import { checkWritable, exists, writeWhole } from "./whole_file.ts";

type Drawn = Extract<GenerateEvent, { type: "image" }>;
type Model = ReturnType<PipelineModule["openModel"]>;

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

  const { Gpu, loadTokenizer, ModelFileError, openModel, Pipeline } = await environment.loadPipeline();
  using model = openModel(values.model ?? "emoji");
  if (values.model === undefined) stderr.write(`${introduce(model)}\n`);
  const request = completeRequest(values, prompt, seed, model);
  checkSchedule(request, model, ModelFileError);
  for (const line of await describeCuts(request, await loadTokenizer(model.tokenizer))) stderr.write(`${line}\n`);

  await using gpu = await Gpu.open();
  await using pipeline = await Pipeline.load(gpu, model, { precision: values.precision, kernels: values.kernels });
  const load = performance.now() - start;
  const { image, timings, peakBytes } = await finish(pipeline.generate(request), createProgress(environment));
  const png = encodePng(image);
  if (toStdout) return stdout.write(png);
  const path = choosePath();
  writeWhole(resolve(folder, path), png);
  if (!values.json) return stdout.write(`${path}\n`);
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
    adapter: gpu.adapter,
    timings: { load, ...timings, total: performance.now() - start },
    peakBytes,
  };
  stdout.write(`${JSON.stringify(document)}\n`);

  function choosePath(): string {
    const taken = (name: string) => exists(join(folder, name));
    return values.output ?? freeName(`${slug(prompt)}-${seed}`, taken);
  }
}

/** 32 bits, which every other tool takes, too. */
function drawSeed(): bigint {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0]!);
}

/** Says what to expect of a model that nobody asked for. */
function introduce({ name, defaults }: Model): string {
  return ["No model was named, so the embedded one draws", name, defaults.knows ?? []].flat().join(": ");
}

function completeRequest(values: OptionValues, prompt: string, seed: bigint, { defaults }: Model): Request {
  const { steps, guidance, width, height, scheduler, rng } = values;
  return {
    prompt,
    negativePrompt: values["negative-prompt"],
    seed,
    steps: steps ?? defaults.steps,
    guidance: guidance ?? defaults.guidance,
    width: width ?? defaults.width,
    height: height ?? defaults.height,
    ...(scheduler === undefined ? {} : { scheduler }),
    rng,
  };
}

/** The model's own scheduler is the model's fault, a named one the caller's. */
function checkSchedule(
  { steps, scheduler }: Request,
  { config }: Model,
  ModelFileError: PipelineModule["ModelFileError"],
): void {
  try {
    scheduleFor(config.scheduler, { steps, name: scheduler });
  } catch (cause) {
    const { message } = cause as Error;
    if (scheduler !== undefined) throw new UsageError(`--scheduler ${scheduler}: ${message}`, { cause });
    throw new ModelFileError("scheduler_config.json", message, { cause });
  }
}

/** A line for each text of which the model reads a part only. */
async function describeCuts(request: Request, tokenizer: Tokenizer): Promise<string[]> {
  const texts = [["prompt", request.prompt], ["negative prompt", request.negativePrompt]] as const;
  const lines = await Promise.all(texts.map(async ([name, text]) => {
    const { count, cut } = await tokenizer.encode(text);
    if (cut === "") return [];
    const limit = tokenizer.maxLength - 2;
    return [`The ${name} has ${count} tokens and the model reads ${limit}; cut off: ${JSON.stringify(cut)}`];
  }));
  return lines.flat();
}

async function finish(events: AsyncIterable<GenerateEvent>, onStep: (step: Step) => void): Promise<Drawn> {
  for await (const event of events) {
    if (event.type === "image") return event;
    onStep(event);
  }
  throw new Error("The pipeline ended without a picture");
}
