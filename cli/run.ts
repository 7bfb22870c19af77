/**
 * From arguments to an exit code.
 * @module
 */
import project from "../deno.json" with { type: "json" };
import type { CommandModule } from "./command.ts";
import { type CommandName, findCommand } from "./commands.ts";
import { type Environment, silenced, systemEnvironment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { exitCodeOf } from "./exit_codes.ts";
import { fullHelp, schedulerHelp, shortHelp } from "./help.ts";
import { readValues, sortArguments } from "./parse.ts";

/** A command's code is loaded when it runs. */
const loaders: Readonly<Record<CommandName, () => Promise<CommandModule>>> = {
  generate: () => import("./generate.ts"),
  batch: () => import("./batch.ts"),
  show: () => import("./show.ts"),
  tokens: () => import("./tokens.ts"),
  pull: () => import("./pull.ts"),
  models: () => import("./models.ts"),
  doctor: () => import("./doctor.ts"),
  completions: () => import("./completions.ts"),
  bench: () => import("./bench.ts"),
};

/**
 * Runs the command that `args` ask for and tells how it went; nothing is thrown.
 *
 * @returns the exit code, as README lists them
 */
export async function run(
  args: readonly string[],
  environment: Environment = systemEnvironment(),
): Promise<number> {
  try {
    return await runCommand(args, environment);
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    report(error, args.includes("--json"), environment);
    return exitCodeOf(error);
  }
}

async function runCommand(args: readonly string[], environment: Environment): Promise<number> {
  const { command, rest } = findCommand(args);
  const given = sortArguments(rest, command.options);
  if (given.options.help) {
    environment.stdout.write(fullHelp(command));
  } else if (given.options.scheduler === "help") {
    environment.stdout.write(schedulerHelp());
  } else if (given.options.version) {
    environment.stdout.write(`denoise ${project.version}\n`);
  } else {
    const values = readValues(given);
    const around = values.quiet ? silenced(environment) : environment;
    const { execute } = await loaders[command.name]();
    return await execute({ values, ...given }, around) ?? 0;
  }
  return 0;
}

function report(error: Error, json: boolean, environment: Environment): void {
  const code = exitCodeOf(error);
  const message = describe(error, code);
  const { stdout, stderr } = environment;
  try {
    stderr.write(`denoise: ${message}\n`);
    if (error instanceof UsageError && error.showHelp) stderr.write(shortHelp());
    if (code === 1 && environment.variable("DENOISE_DEBUG")) stderr.write(`${error.stack}\n`);
    if (json) {
      const document = { schema: 1, error: { code, name: error.name, message } };
      stdout.write(`${JSON.stringify(document)}\n`);
    }
  } catch {
    // Nobody reads either stream any more; the exit code still tells.
  }
}

function describe(error: Error, code: number): string {
  const message = error.message.replace(/\s*\n\s*/g, " ");
  const expected = code !== 1 || error instanceof Deno.errors.NotCapable;
  return expected ? message : `Unexpected ${error.name}: ${message}`;
}
