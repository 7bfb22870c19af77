/**
 * What the stages of a picture take.
 * @module
 */
import type { Pipeline, StageProgram } from "../pipeline.ts";
import type { Request } from "../request.ts";

/** Times of one thing measured several times, in milliseconds. */
export interface Spread {
  /** The tenth percentile: what an undisturbed machine takes. */
  readonly low: number;
  /** Half of the times are no longer. */
  readonly median: number;
  readonly count: number;
}

export interface StageTimes {
  /** The text encoder and what else all steps share, on the GPU's clock. */
  readonly text: Spread;
  /** One denoising step, on the GPU's clock. */
  readonly step: Spread;
  /** The VAE's decoder, on the GPU's clock. */
  readonly decode: Spread;
  /** A whole picture from prompt to pixels, on the wall clock. */
  readonly picture: Spread;
  readonly evaluations: number;
  /** The first picture, in milliseconds: recording, compiling and transforming weights included. */
  readonly first: number;
}

export interface Times {
  readonly text: readonly number[];
  readonly step: readonly number[];
  readonly decode: readonly number[];
  readonly picture: readonly number[];
  readonly evaluations: number;
  readonly first: number;
}

/** How long pictures are measured, in milliseconds; each of the other stages takes a fifth of it. */
const BUDGET = 3000;

/** How often one thing is measured, at least and at most. */
const STAGE = { least: 5, most: 100 };
const PICTURE = { least: 2, most: 10 };

/** What takes longer than this, in milliseconds, is measured once: its own length evens out what disturbs it. */
export const SLOW = 5000;

/**
 * Measures the stages of `request`.
 *
 * @throws {NoGpuError} when the GPU has no timestamps.
 */
export async function measureStages(pipeline: Pipeline, request: Request): Promise<StageTimes> {
  return summarise([await timeStages(pipeline, request, BUDGET)]);
}

/** Times the stages of `request` for about twice `budget` milliseconds, longer where they are slow. */
export async function timeStages(pipeline: Pipeline, request: Request, budget: number): Promise<Times> {
  const first = await draw(pipeline, request);
  const picture = await repeat({ ...PICTURE, budget }, async () => [await draw(pipeline, request)]);
  const stage = (name: "text" | "step" | "decode") =>
    repeat({ ...STAGE, budget: budget / 5 }, async (count) => {
      // Asked for anew each time, so that its steps start at the first one.
      const stages = await pipeline.stages(request);
      return await time([stages[name]].flat(), Math.min(count, stages.steps));
    });
  return {
    text: await stage("text"),
    step: await stage("step"),
    decode: await stage("decode"),
    picture,
    evaluations: (await pipeline.stages(request)).steps,
    first,
  };
}

/** Times programs that run one after the other, together, `count` times. */
async function time(programs: readonly StageProgram[], count: number): Promise<readonly number[]> {
  const sums = new Array<number>(count).fill(0);
  for (const { enter, program } of programs) {
    await enter();
    (await program.time(count)).forEach((milliseconds, i) => sums[i]! += milliseconds);
  }
  return sums;
}

/** Calls `measure`, which is told how many times are wanted, until there are as many as the first one lets expect. */
async function repeat(
  { budget, least, most }: { budget: number; least: number; most: number },
  measure: (wanted: number) => Promise<readonly number[]>,
): Promise<readonly number[]> {
  const times = [...await measure(1)];
  const count = times[0]! > SLOW ? 1 : Math.min(most, Math.max(least, Math.round(budget / times[0]!)));
  while (times.length < count) times.push(...await measure(count - times.length));
  return times;
}

async function draw(pipeline: Pipeline, request: Request): Promise<number> {
  const started = performance.now();
  await Array.fromAsync(pipeline.generate(request));
  return performance.now() - started;
}

/** The times of several rounds of the same stages as one; the first picture is that of the first round. */
export function summarise(rounds: readonly Times[]): StageTimes {
  const spread = (name: "text" | "step" | "decode" | "picture"): Spread => {
    const times = rounds.flatMap((round) => round[name]).toSorted((a, b) => a - b);
    const at = (part: number) => times[Math.floor(part * (times.length - 1))]!;
    return { low: at(0.1), median: at(0.5), count: times.length };
  };
  const { evaluations, first } = rounds[0]!;
  return {
    text: spread("text"),
    step: spread("step"),
    decode: spread("decode"),
    picture: spread("picture"),
    evaluations,
    first,
  };
}
