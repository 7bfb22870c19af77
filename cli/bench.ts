/**
 * `denoise bench`: what pictures take on this machine.
 * @module
 */
import { resolve } from "@std/path";
import {
  measureAblation,
  measureCeilings,
  measureChoices,
  measureOperations,
  measureRates,
  measureStages,
} from "../pipeline/bench/mod.ts";
import { openRandomModel, RANDOM_MODELS } from "../pipeline/bench/random_models.ts";
import { complete, Gpu, openModel, Pipeline } from "../pipeline/mod.ts";
import { type BenchReport, drawChart, writeReport } from "./bench_report.ts";
import { describeBuild } from "./build.ts";
import type { Given } from "./commands.ts";
import { deviceOptions, providerOf } from "./dawn.ts";
import { type Environment, say } from "./environment.ts";
import { exitCodeOf, UsageError } from "./errors.ts";
import { Places, writeWhole } from "./files.ts";
import { selectionOf } from "./kernel_timings.ts";
import type { OptionValues } from "./options.ts";
import { completeRequest } from "./request.ts";
import { block, json } from "./terminal.ts";

/**
 * Measures and prints a report: stages and operations, or what an option asks for instead. Where a check finds a stage
 * wrong, the exit code is that of a GPU that failed.
 */
export async function execute({ values, positionals }: Given, environment: Environment): Promise<number> {
  const { stdout, folder } = environment;
  checkUsage(values, positionals);
  const webgpu = providerOf(values, environment.variable);
  const chart = values.output === undefined ? undefined : resolve(folder, values.output);
  if (chart !== undefined) new Places().check(chart);

  const { "random-weights": random } = values;
  using model = random === undefined
    ? openModel(values.model ?? "emoji", {
      tokenizer: values.tokenizer,
      vae: values.vae,
      variable: environment.variable,
    })
    : openRandomModel(random);
  const { defaults } = model;
  const { precision, kernels, steps = defaults.steps, width = defaults.width, height = defaults.height } = values;
  const { guidance } = defaults;
  const request = { prompt: "", negativePrompt: "", seed: 0n, guidance, steps, width, height, rng: "cpu" } as const;
  await completeRequest(request, { model, module: { complete }, strength: undefined });
  say(environment, "Measuring what the machine reaches without a model");
  const device = await deviceOptions(webgpu, environment);
  const before = await measureCeilings(device);
  await using gpu = await Gpu.open(device);
  say(environment, `Loading ${model.name}`);
  const start = performance.now();
  const selection = selectionOf(values, environment);
  const { memory } = values;
  await using pipeline = await Pipeline.load(gpu, model, { precision, kernels, selection, memory, first: request });
  const load = performance.now() - start;
  say(environment, "Measuring the model");
  const measured = await measure();
  const report: BenchReport = {
    schema: 1,
    ...await describeBuild(),
    adapter: gpu.adapter,
    model: model.name,
    width,
    height,
    steps,
    guidance,
    precision,
    kernels,
    ceilings: { before, after: await measureCeilings(device) },
    load,
    pipelines: { count: gpu.pipelines, milliseconds: gpu.pipelineMilliseconds },
    peakBytes: gpu.peakBytes,
    stageBytes: pipeline.needs,
    ...measured,
  };
  if (chart !== undefined) writeWhole(chart, new TextEncoder().encode(drawChart(report)));
  stdout.write(values.json ? json(report) : block(writeReport(report)));
  const wrong = report.check?.some(({ error, allowed }) => !(error <= allowed));
  return wrong ? exitCodeOf({ name: "GpuFailedError" }) : 0;

  async function measure(): Promise<Partial<BenchReport>> {
    if (values.check) return { check: await pipeline.compare(RANDOM_MODELS[random!].reference) };
    if (values["list-kernels"]) return { choices: await measureChoices(pipeline, request) };
    if (!values.ablation) {
      const stages = await measureStages(pipeline, request);
      const operations = await measureOperations(pipeline, request);
      say(environment, "Measuring kernels");
      return { stages, operations, rates: await measureRates(device) };
    }
    const onRow = (name: string, round: number) => say(environment, `Round ${round}: ${name}`);
    return { ablation: await measureAblation(pipeline, request, { onRow }) };
  }
}

function checkUsage(values: OptionValues, positionals: readonly string[]): void {
  if (positionals.length > 0) throw new UsageError(`bench takes no prompt, got ${JSON.stringify(positionals[0])}`);
  if (values.model !== undefined && values["random-weights"] !== undefined) {
    throw new UsageError("--model and --random-weights both name a model: choose one");
  }
  if (values.vae !== undefined && values["random-weights"] !== undefined) {
    throw new UsageError("--vae puts a VAE into a model of files, and --random-weights has none");
  }
  const measurements = (["check", "ablation", "list-kernels"] as const).filter((name) => values[name]);
  if (measurements.length > 1) {
    throw new UsageError(`--${measurements[0]} and --${measurements[1]} are two measurements: choose one`);
  }
  if (values.check && values["random-weights"] === undefined) {
    throw new UsageError("--check needs --random-weights, the model whose results are known");
  }
  if (values.output !== undefined && !values.ablation) {
    throw new UsageError("--output needs --ablation, which it draws a chart of");
  }
  if (values.output !== undefined && values.output !== "-" && !/\.svg$/i.test(values.output)) {
    throw new UsageError(`--output writes the chart as SVG: name a file that ends in .svg, not ${values.output}`);
  }
  if (values.output === "-") throw new UsageError("--output - and the report both use standard output: name a file");
}
