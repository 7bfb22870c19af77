/**
 * `denoise doctor`: what there is on this machine, whether it works, and what is slow and why.
 * @module
 */
import { cacheSizes, describeModels } from "../pipeline/models.ts";
import { GpuFailedError, NoGpuError } from "../pipeline/mod.ts";
import { DAWN_VERSION, type DeviceOptions, type ProviderName } from "../pipeline/webgpu.ts";
import { describeBuild } from "./build.ts";
import type { Given } from "./commands.ts";
import { adviseOn, type DoctorReport, writeDoctorReport } from "./doctor_report.ts";
import { findDawn, providerOf } from "./dawn.ts";
import type { Environment } from "./environment.ts";
import { selectionOf } from "./kernel_timings.ts";
import { exitCodeOf, UsageError } from "./errors.ts";
import { block, json } from "./terminal.ts";

/** Prints the report. The exit code is that of a missing GPU, or of one that fails a self-test. */
export async function execute({ values, positionals }: Given, environment: Environment): Promise<number> {
  if (positionals.length > 0) throw new UsageError(`doctor takes no prompt, got ${JSON.stringify(positionals[0])}`);
  const { variable, stdout } = environment;
  const webgpu = providerOf(values, variable);
  const { code, ...gpu } = await examineGpu(webgpu, environment);
  const found = {
    schema: 1,
    ...await describeBuild(),
    providers: [
      { name: "deno", version: Deno.version.deno, there: true },
      { name: "dawn", version: DAWN_VERSION, there: false, ...findDawn(variable) },
    ],
    ...gpu,
    models: describeModels(variable),
    caches: cacheSizes(variable),
  } as const;
  const report: DoctorReport = { ...found, advice: adviseOn(found) };
  stdout.write(values.json ? json(report) : block(writeDoctorReport(report)));
  return code;
}

async function examineGpu(webgpu: ProviderName, environment: Environment) {
  const { examine, Gpu } = await environment.loadPipeline();
  try {
    await using gpu = await Gpu.open(optionsFor(webgpu, environment));
    const examination = await examine(gpu, selectionOf({ tune: false }, environment));
    const works = examination.tests.every(({ failure }) => failure === undefined);
    const { adapter, matrices } = gpu;
    return { adapter, matrices, ...examination, code: works ? 0 : exitCodeOf({ name: "GpuFailedError" }) };
  } catch (error) {
    if (!(error instanceof NoGpuError || error instanceof GpuFailedError)) throw error;
    return { problem: error.message, code: exitCodeOf(error) };
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
