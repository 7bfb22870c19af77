/**
 * `denoise batch`: a picture of each line of a file, with one model.
 * @module
 */
import { type BatchLine, checkModel, readBatchLines } from "./batch_lines.ts";
import type { Given } from "./command.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { checkNames, checkOtherFiles, checkPlaces, throwFirst } from "./job_checks.ts";
import { readValues } from "./parse.ts";
import { type Entry, jobsOf } from "./picture_job.ts";
import { Series } from "./picture_series.ts";
import { Studio } from "./studio.ts";
import { readTextFile } from "./text_file.ts";

/** Names that are the same whenever and wherever a line is drawn. */
const TEMPLATE = "{index}-{seed}-{slug}.png";

/** Makes the pictures of all lines, or of those of a shard. */
export async function execute(given: Given, environment: Environment): Promise<number> {
  const start = performance.now();
  const { values } = given;
  if (values.output === "-") throw new UsageError("A batch makes many pictures, and standard output takes one");
  const planned = planLines(readBatchLines(await readSource(given, environment)), given);
  if (planned.length === 0) throw new UsageError("The batch is empty: no line asks for a picture");
  checkNames(planned.flat());

  const { number, of } = values.shard ?? { number: 1, of: 1 };
  const own = planned.filter((_, index) => index % of === number - 1).flat();
  const entries = checkPlaces(own, environment.folder);
  if (!values["continue-on-error"]) throwFirst(entries);
  checkOtherFiles(values, environment.folder);
  if (entries.length === 0) return 0;

  await using studio = await Studio.open(values, environment);
  return await new Series(studio, environment, { values, start }).draw(entries);
}

/**
 * The pictures of each line. Index and seed of a picture follow from the lines alone, those of other shards included,
 * so that each shard, and each run after an interruption, gives a line the same pictures: without a seed of its own, a
 * line counts on from `--seed`, or 0, by the pictures before it.
 */
function planLines(lines: readonly BatchLine[], { options, values }: Given): Entry[][] {
  let index = 1;
  return lines.map((line) => {
    const entries = planLine(line);
    index += entries.length;
    return entries;
  });

  function planLine(line: BatchLine): Entry[] {
    const place = { index, line: line.number };
    try {
      if (line.error) throw line.error;
      checkModel(line, options);
      const merged = { ...options, ...line.options };
      const own = readValues({ options: merged });
      const seed = line.options.seed === undefined ? (values.seed ?? 0n) + BigInt(index - 1) : own.seed!;
      const order = { ...place, options: merged, values: own, prompt: line.prompt, seed };
      if (own.output === "-") throw new UsageError("output is -, and standard output takes one picture");
      return jobsOf({ ...order, template: TEMPLATE, replaces: true });
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      return [{ ...place, error: new UsageError(`Line ${line.number}: ${error.message}`, { cause: error }) }];
    }
  }
}

/** The text of the file that the one argument names; `-` is standard input. */
async function readSource({ positionals }: Given, { stdin, folder }: Environment): Promise<string> {
  const [path, ...more] = positionals;
  if (path === undefined || more.length > 0) {
    throw new UsageError("A batch is read from one file: denoise batch FILE, or - for standard input");
  }
  return path === "-" ? await stdin.read() : readTextFile(path, { folder, label: "The batch" });
}
