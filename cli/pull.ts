/**
 * `denoise pull`: downloads a model.
 * @module
 */
import {
  CacheError,
  describeFamily,
  findRepository,
  ModelNotFoundError,
  parseRepository,
  pull,
  type PullEvent,
  type Repository,
  showRepository,
} from "../pipeline/models.ts";
import { showBytes, showCount } from "./byte_count.ts";
import type { Given } from "./commands.ts";
import { createDownloadProgress } from "./download_progress.ts";
import { type Environment, isOffline, say } from "./environment.ts";
import { OutputError, UsageError } from "./errors.ts";
import { json, name } from "./terminal.ts";

/** Downloads a model unless it is here, and prints its folder. */
export async function execute({ values, positionals }: Given, environment: Environment): Promise<void> {
  const repository = readRepository(positionals, values.revision);
  const offline = values.offline || isOffline(environment);
  if (!offline) requireVariables(environment);
  const pulled = offline ? findOffline(repository, environment) : await download(repository, environment);
  const document = { schema: 1, model: showRepository(repository), ...pulled };
  const { stdout } = environment;
  stdout.write(values.json ? json(document) : name(pulled.directory, stdout));
}

function readRepository(positionals: readonly string[], revision: string | undefined): Repository {
  const [text, ...more] = positionals;
  if (text === undefined || more.length > 0) {
    throw new UsageError("Which model? denoise pull ORGANISATION/NAME takes one");
  }
  const repository = parseRepository(revision === undefined ? text : `${text}@${revision}`);
  if (repository !== undefined) return repository;
  throw new UsageError(
    revision === undefined
      ? `${JSON.stringify(text)} is not a repository: it must be ORGANISATION/NAME or ORGANISATION/NAME@REVISION`
      : `${JSON.stringify(text)} with --revision ${JSON.stringify(revision)} is not a repository and revision`,
  );
}

/** Refuses to go where it may not be told to: unread, a mirror's address is taken for the public hub's. */
function requireVariables({ variable }: Environment): void {
  for (const name of ["HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"]) {
    // Asks for the permission, where somebody can answer.
    variable(name);
    if (Deno.permissions.querySync({ name: "env", variable: name }).state === "granted") continue;
    const words = `Requires env access to "${name}", without which it is not known where models come from`;
    throw new Deno.errors.NotCapable(`${words}; run again with the --allow-env flag`);
  }
}

function findOffline(repository: Repository, { variable }: Environment) {
  try {
    return { directory: findRepository(repository, variable), downloaded: 0 };
  } catch (cause) {
    if (!(cause instanceof ModelNotFoundError)) throw cause;
    const words = `${cause.message} when it may use the network, which --offline or HF_HUB_OFFLINE forbids`;
    throw new ModelNotFoundError(words, { cause });
  }
}

async function download(repository: Repository, environment: Environment) {
  const { variable } = environment;
  const model = showRepository(repository);
  const progress = createDownloadProgress(environment);
  try {
    const pulled = await pull(repository, { variable, onEvent, check: describeFamily });
    if (pulled.downloaded === 0) tell(`All ${showBytes(pulled.bytes)} of ${model} are here already`);
    return pulled;
  } catch (cause) {
    progress.breakLine();
    if (cause instanceof RangeError) throw new UsageError(cause.message, { cause });
    if (cause instanceof CacheError) throw new OutputError(cause.message, { cause });
    throw cause;
  }

  function onEvent(event: PullEvent): void {
    if (event.type === "progress") return progress.update(event.bytes, event.total);
    tell(describeEvent(model, event));
  }

  function tell(text: string): void {
    progress.breakLine();
    say(environment, text);
  }
}

function describeEvent(name: string, event: Exclude<PullEvent, { type: "progress" }>): string {
  if (event.type === "ask") return `Asking ${event.endpoint} for ${name}`;
  if (event.type === "waiting") return `Another process is downloading ${name}: waiting for it`;
  if (event.type === "retry") return `${event.reason}; trying again in ${event.milliseconds / 1000} s`;
  const { commit, files, bytes, present, half } = event;
  const precision = half ? ", weights in half precision (fp16), half of the full size" : "";
  const rest = present === 0 ? "" : `; ${showBytes(present)} of them are here already`;
  return `Downloading ${name} at ${commit.slice(0, 12)}: ${showCount(files, "file")}, ${
    showBytes(bytes)
  }${precision}${rest}`;
}
