/**
 * From arguments to an exit code.
 * @module
 */
import project from "../deno.json" with { type: "json" };
import { type CommandModule, type CommandName, commands } from "./commands.ts";
import { type Environment, silenced, systemEnvironment } from "./environment.ts";
import { exitCodeOf, PackageNotFoundError, UsageError } from "./errors.ts";
import { fullHelp, schedulerHelp, shortHelp } from "./help.ts";
import { readValues, sortArguments } from "./parse.ts";
import { block, json, line, withoutPasswords } from "./terminal.ts";

/** A command's code is loaded when it runs. */
const loaders: Readonly<Record<CommandName, () => Promise<CommandModule>>> = {
  generate: () => import("./generate.ts"),
  batch: () => import("./batch.ts"),
  upscale: () => import("./upscale.ts"),
  show: () => import("./show.ts"),
  tokens: () => import("./tokens.ts"),
  pull: () => import("./pull.ts"),
  models: () => import("./models.ts"),
  doctor: () => import("./doctor.ts"),
  completions: () => import("./completions.ts"),
  bench: () => import("./bench.ts"),
  help: () => import("./help.ts"),
};

/** Runs the command that `args` ask for and returns its exit code; nothing is thrown. */
export async function run(args: readonly string[], environment: Environment = systemEnvironment()): Promise<number> {
  try {
    return await runCommand(args, environment);
  } catch (thrown) {
    const error = explain(thrown instanceof Error ? thrown : new Error(String(thrown)));
    const end = args.indexOf("--");
    report(error, (end < 0 ? args : args.slice(0, end)).includes("--json"), environment);
    return exitCodeOf(error);
  }
}

async function runCommand(args: readonly string[], environment: Environment): Promise<number> {
  const named = commands.find(({ name }) => name === args[0]);
  const command = named ?? commands[0];
  const { options, positionals } = sortArguments(named ? args.slice(1) : args, command, commands);
  const { stdout } = environment;
  if (options.help) {
    stdout.write(block(fullHelp(command)));
  } else if (options.scheduler === "help") {
    stdout.write(block(schedulerHelp()));
  } else if (options.version) {
    stdout.write(line(`denoise ${project.version}`));
  } else {
    const values = readValues(options);
    const { execute } = await loaders[command.name]();
    return await execute({ values, options, positionals }, values.quiet ? silenced(environment) : environment) ?? 0;
  }
  return 0;
}

/** Deno's own error, when it cannot get a package of npm, is of no class, and says how the network failed. */
function explain(error: Error): Error {
  const [, name] = /^Failed caching npm package '([^']+)'/.exec(error.message) ?? [];
  if (name === undefined) return error;
  const words =
    `The npm package ${name}, which this program needs, is not on this machine and cannot be downloaded: run ` +
    '"deno cache main.ts" once in the program\'s folder with a network';
  return new PackageNotFoundError(words, { cause: error });
}

function report(error: Error, asJson: boolean, { stdout, stderr, variable }: Environment): void {
  const code = exitCodeOf(error);
  const message = withoutSecrets(describe(error, code), variable);
  try {
    stderr.write(line(`denoise: ${message}`));
    if (error instanceof UsageError && error.showHelp) stderr.write(block(shortHelp()));
    if (code === 1 && variable("DENOISE_DEBUG")) stderr.write(block(withoutSecrets(`${error.stack}\n`, variable)));
    if (asJson) stdout.write(json({ schema: 1, error: { code, name: error.name, message } }));
  } catch {
    // Nobody reads either stream any more; the exit code still tells.
  }
}

function describe(error: Error, code: number): string {
  const expected = code !== 1 || error instanceof Deno.errors.NotCapable;
  return expected ? error.message : `Unexpected ${error.name}: ${error.message}`;
}

/** Whatever went wrong on the way to a hub, the token is nothing that others should read. */
function withoutSecrets(text: string, variable: Environment["variable"]): string {
  const secrets = (variable("HF_TOKEN") ?? "").split(/\s+/).filter((part) => part.length >= 8);
  return secrets.reduce((told, secret) => told.replaceAll(secret, "***"), withoutPasswords(text));
}
