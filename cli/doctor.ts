/**
 * `denoise doctor`: what there is on this machine, whether it works, and what is slow and why.
 * @module
 */
import { cacheSizes, describeModels } from "../pipeline/models.ts";
import { GpuFailedError, NoGpuError } from "../pipeline/mod.ts";
import { describeBuild } from "./build.ts";
import type { Given } from "./commands.ts";
import { adviseOn, type DoctorReport, writeDoctorReport } from "./doctor_report.ts";
import type { Environment } from "./environment.ts";
import { selectionOf } from "./kernel_timings.ts";
import { exitCodeOf, UsageError } from "./errors.ts";
import { block, json } from "./terminal.ts";

/** Prints the report. The exit code is that of a missing GPU, or of one that fails a self-test. */
export async function execute({ values, positionals }: Given, environment: Environment): Promise<number> {
  if (positionals.length > 0) throw new UsageError(`doctor takes no prompt, got ${JSON.stringify(positionals[0])}`);
  const { code, ...gpu } = await examineGpu(environment);
  const { variable, stdout } = environment;
  const found = {
    schema: 1,
    ...await describeBuild(),
    ...gpu,
    models: describeModels(variable),
    caches: cacheSizes(variable),
  } as const;
  const report: DoctorReport = { ...found, advice: adviseOn(found) };
  stdout.write(values.json ? json(report) : block(writeDoctorReport(report)));
  return code;
}

async function examineGpu(environment: Environment) {
  const { examine, Gpu } = await environment.loadPipeline();
  try {
    await using gpu = await Gpu.open();
    const examination = await examine(gpu, selectionOf({ tune: false }, environment));
    const works = examination.tests.every(({ failure }) => failure === undefined);
    return { adapter: gpu.adapter, ...examination, code: works ? 0 : exitCodeOf({ name: "GpuFailedError" }) };
  } catch (error) {
    if (!(error instanceof NoGpuError || error instanceof GpuFailedError)) throw error;
    return { problem: error.message, code: exitCodeOf(error) };
  }
}
