/**
 * `denoise doctor`: what there is on this machine, whether it works, and what is slow and why.
 * @module
 */
import { cacheSizes, describeModels, type ModelDescription } from "../pipeline/models.ts";
import { GpuFailedError, NoGpuError } from "../pipeline/mod.ts";
import { DAWN_VERSION, type DeviceOptions, type ProviderName } from "../pipeline/webgpu.ts";
import { describeBuild } from "./build.ts";
import type { Given } from "./commands.ts";
import { adviseOn, type DoctorReport, type ModelMemory, writeDoctorReport } from "./doctor_report.ts";
import { findDawn, providerOf } from "./dawn.ts";
import type { Environment, PipelineModule } from "./environment.ts";
import { selectionOf } from "./kernel_timings.ts";
import { exitCodeOf, UsageError } from "./errors.ts";
import { block, json } from "./terminal.ts";

/** Prints the report. The exit code is that of a missing GPU, or of one that fails a self-test. */
export async function execute({ values, positionals }: Given, environment: Environment): Promise<number> {
  if (positionals.length > 0) throw new UsageError(`doctor takes no prompt, got ${JSON.stringify(positionals[0])}`);
  const { variable, stdout } = environment;
  const webgpu = providerOf(values, variable);
  const models = describeModels(variable);
  const { code, ...gpu } = await examineGpu(webgpu, models, environment);
  const found = {
    schema: 1,
    ...await describeBuild(),
    providers: [
      { name: "deno", version: Deno.version.deno, there: true },
      { name: "dawn", version: DAWN_VERSION, there: false, ...findDawn(variable) },
    ],
    ...gpu,
    models,
    caches: cacheSizes(variable),
  } as const;
  const report: DoctorReport = { ...found, advice: adviseOn(found) };
  stdout.write(values.json ? json(report) : block(writeDoctorReport(report)));
  return code;
}

async function examineGpu(webgpu: ProviderName, models: readonly ModelDescription[], environment: Environment) {
  const module = await environment.loadPipeline();
  const { examine, Gpu } = module;
  try {
    await using gpu = await Gpu.open(optionsFor(webgpu, environment));
    const examination = await examine(gpu, selectionOf({ tune: false }, environment));
    const works = examination.tests.every(({ failure }) => failure === undefined);
    const { adapter, matrices } = gpu;
    const memory = [];
    for (const { name, problem } of models) {
      if (problem === undefined) memory.push(...await memoryOf(name, gpu, { module, environment }));
    }
    return { adapter, matrices, ...examination, memory, code: works ? 0 : exitCodeOf({ name: "GpuFailedError" }) };
  } catch (error) {
    if (!(error instanceof NoGpuError || error instanceof GpuFailedError)) throw error;
    return { problem: error.message, code: exitCodeOf(error) };
  }
}

/** What a picture of a model takes; nothing where that cannot be told. */
async function memoryOf(
  name: string,
  gpu: Parameters<PipelineModule["Pipeline"]["needs"]>[0],
  { module, environment: { variable } }: { readonly module: PipelineModule; readonly environment: Environment },
): Promise<readonly ModelMemory[]> {
  try {
    using model = module.openModel(name, { variable });
    const { width, height } = model.defaults;
    return [{ name, width, height, stageBytes: await module.Pipeline.needs(gpu, model) }];
  } catch (error) {
    const { name: kind, message } = error as Error;
    if (kind === "GpuMemoryError") return [{ name, problem: message }];
    if (["ModelFileError", "ModelNotFoundError", "RequestError"].includes(kind)) return [];
    throw error;
  }
}

/** How a device is opened: nothing is fetched for that. */
function optionsFor(webgpu: ProviderName, { variable }: Environment): DeviceOptions {
  if (webgpu === "deno") return { webgpu };
  const dawn = findDawn(variable);
  if (dawn?.there) return { webgpu, dawn: dawn.folder };
  throw new NoGpuError(
    `Dawn is not ${dawn ? `in ${dawn.folder}` : "here"}: \`--webgpu dawn\` fetches it for a picture`,
  );
}
