/**
 * The command in a process of its own with a pipeline that fails: `failing_process.ts STAGE ERROR ARGUMENT ...`.
 * @module
 */
import { systemEnvironment } from "../../cli/environment.ts";
import { run } from "../../cli/run.ts";
import { GpuFailedError, GpuMemoryError } from "../../kernels/errors.ts";
import { fakeEnvironment } from "./fake_environment.ts";

const errors: Readonly<Record<string, new (message: string) => Error>> = { Error, GpuFailedError, GpuMemoryError };
const [failing, kind, ...args] = Deno.args;

const { loadPipeline } = fakeEnvironment({
  before: (stage) => {
    if (stage === failing) throw new errors[kind!]!("It was asked to fail");
  },
});
Deno.exit(await run(args, { ...systemEnvironment(), loadPipeline }));
