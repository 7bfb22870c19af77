/**
 * `denoise batch`: a picture of each line of a file, with one model.
 * @module
 */
import { LIMITS } from "../pipeline/limits.ts";
import type { Given } from "./commands.ts";
import { type Environment, say } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { readTextFile } from "./reading.ts";
import { Places } from "./files.ts";
import { checkNames, checkPlaces, countOf, createSeries, type Failure, type Plan, type Series } from "./jobs.ts";
import { optionEntry, optionNames } from "./options.ts";
import { type OptionTexts, readValues } from "./parse.ts";
import { checkPrompt, type PictureLine, readPictureLine } from "./request.ts";
import { Session } from "./session.ts";

/** Names that are the same whenever and wherever a line is drawn. */
const TEMPLATE = "{index}-{seed}-{slug}.png";

/** Makes the pictures of all lines, or of those of a shard. */
export async function execute(given: Given, environment: Environment): Promise<number> {
  const start = performance.now();
  const { values } = given;
  if (values.output === "-") throw new UsageError("A batch makes many pictures, and standard output takes one");
  const planned = planLines(readLines(await readSource(given, environment)), given);
  if (planned.length === 0) throw new UsageError("The batch is empty: no line asks for a picture");
  const { folder } = environment;
  checkNames(planned, values, folder);

  const { number, of } = values.shard ?? { number: 1, of: 1 };
  const plan = planned.filter((_, index) => index % of === number - 1);
  const places = new Places();
  checkPlaces(plan, { values, folder, places });
  if (plan.length === 0) return 0;
  await using session = await Session.open({ values, environment, places, start });
  return await session.draw(plan);
}

/** The text of the file that the one argument names; `-` is standard input. */
async function readSource({ positionals }: Given, environment: Environment): Promise<string> {
  const { stdin, folder } = environment;
  const [path, ...more] = positionals;
  if (path === undefined || more.length > 0) {
    throw new UsageError("A batch is read from one file: denoise batch FILE, or - for standard input");
  }
  const most = LIMITS.batchBytes;
  if (path !== "-") return readTextFile(path, { folder, what: "the batch", most });
  if (stdin.isTerminal()) say(environment, "Reading lines from the terminal until Ctrl-D");
  return await stdin.read(most);
}

/** A line that asks for pictures. */
export interface BatchLine {
  /** Which line of the file, from 1. */
  readonly number: number;
  readonly text: string;
}

/** The lines of `text` that ask for pictures: empty lines and those that begin with `#` do not. */
export function readLines(text: string): BatchLine[] {
  const ends = /\n/g;
  for (let count = 0; ends.test(text);) {
    if (++count > LIMITS.batchLines) throw new UsageError(`The batch has more than ${LIMITS.batchLines} lines`);
  }
  const lines = text.replace(/^\uFEFF/, "").split("\n").map((line, i) => ({ number: i + 1, text: line.trim() }));
  return lines.filter(({ text }) => text !== "" && !text.startsWith("#"));
}

/** @throws {UsageError} when it is a JSON object, and a wrong one. */
export function readLine({ text }: Pick<BatchLine, "text">): PictureLine {
  if (text.length > LIMITS.textBytes) throw new UsageError(`it has more than ${LIMITS.textBytes} letters`);
  return text.startsWith("{") ? readPictureLine(text) : { prompt: checkPrompt(text), options: {} };
}

/**
 * The pictures of each line. Index and seed of a picture follow from the lines alone, those of other shards included,
 * so that each shard, and each run after an interruption, gives a line the same pictures: without a seed of its own, a
 * line counts on from `--seed`, or 0, by the pictures before it.
 */
function planLines(lines: readonly BatchLine[], { options, values }: Given): Plan {
  let index = 1;
  return lines.map((line) => {
    const item = planLine(line);
    index += countOf(item);
    if (index - 1 > LIMITS.pictures) throw new UsageError(`The batch asks for more than ${LIMITS.pictures} pictures`);
    return item;
  });

  function planLine(line: BatchLine): Series | Failure {
    try {
      const own = readLine(line);
      checkModel(own.options, options);
      const isPlain = Object.keys(own.options).length === 0;
      const spec = isPlain
        ? { prompt: own.prompt, options, values }
        : { prompt: own.prompt, options: { ...options, ...own.options }, values: readValues(own.options, values) };
      const counted = (values.seed ?? 0n) + BigInt(index - 1);
      const seed = own.options.seed === undefined ? counted : spec.values.seed!;
      if (spec.values.output === "-") throw new UsageError("output is -, and standard output takes one picture");
      return createSeries(spec, { index, line: line.number, seed, template: TEMPLATE, replaces: true });
    } catch (cause) {
      if (!(cause instanceof UsageError)) throw cause;
      const error = new UsageError(`Line ${line.number}: ${cause.message}`, { cause });
      return { index, line: line.number, status: "error", error };
    }
  }
}

const MODEL_OPTIONS = optionNames.filter((name) => optionEntry(name).scope === "model");

/**
 * Refuses a line that changes what is loaded once.
 *
 * @throws {UsageError} when it names another model, precision or kernels than the options of the `run`.
 */
function checkModel(line: OptionTexts, run: OptionTexts): void {
  for (const name of MODEL_OPTIONS) {
    const { default: text, otherwise = text } = optionEntry(name);
    // One of a list and the list of it say the same.
    if (line[name] === undefined || `${line[name]}` === `${run[name] ?? otherwise}`) continue;
    const said = JSON.stringify(line[name]);
    throw new UsageError(`${name} is ${said}, but a batch loads one model: give --${name} for all lines`);
  }
}
