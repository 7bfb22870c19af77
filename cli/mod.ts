/**
 * The command line: options, help, progress, JSON, exit codes and the files written.
 * @module
 */
export type { Environment, Input, Output, PipelineModule } from "./environment.ts";
export { run } from "./run.ts";
