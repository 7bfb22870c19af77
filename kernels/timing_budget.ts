/**
 * Timing as many operations as a budget allows, those first that matter most.
 * @module
 */
import type { Candidates, KernelTimes, Timer, Way } from "./candidates.ts";
import type { Launch } from "./backend.ts";
import { bytesOf } from "./tensor.ts";

/** Time for all timings of a process together, in milliseconds. */
export const BUDGET_MILLISECONDS = 2000;

/** Passes of one timing: the first one warms up, and more than the last gains nothing. */
const PASSES = { least: 2, most: 6 };

/** How long the passes of one timing should take together, in milliseconds. */
const PATIENCE = 20;

/** What a byte of memory counts in floating-point operations: GPUs and CPUs do 10 to 20 while they move one. */
const FLOPS_PER_BYTE = 16;

/**
 * Milliseconds for each floating-point operation before anything was timed: 10^9 a second are few. So the first
 * operation that is timed is a safe one, and tells how large the next may be.
 */
const SLOWEST = 1e-6;

/** Kernels that need more memory than this for one operation are not timed: they might not fit. */
const MOST_BYTES = 2 ** 30;

/**
 * Spends time on timings. Work on the GPU cannot be stopped, so each timing is begun only when it can be expected to
 * fit into what is left.
 */
export class Budget {
  readonly #now: () => number;
  #left = BUDGET_MILLISECONDS;
  /** Milliseconds for each floating-point operation, by the fastest operation timed. */
  #rate = SLOWEST;
  /** What the slowest timing took beside its passes and for each new shader, in milliseconds; at first a guess. */
  #overhead = 15;
  #compilation = 100;
  readonly #compiled = new Set<string>();

  /** A full budget; `now` is a clock of milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Times by key; null for what was not reached, does not fit or fails. */
  async spend(found: readonly Candidates[], timer: Timer): Promise<ReadonlyMap<string, KernelTimes>> {
    const waiting = inOrder(found);
    const times = new Map(waiting.map((candidates) => [candidates.key, untimed(candidates)]));
    for (;;) {
      const next = waiting.findIndex((operation) => this.#allows(operation.ways, this.#expect(operation)));
      if (next === -1) return times;
      const [candidates] = waiting.splice(next, 1);
      times.set(candidates!.key, await this.#time(candidates!, timer));
    }
  }

  /** What a pass of an operation can be expected to take. */
  #expect(operation: Candidates): number {
    return this.#rate * sizeOf(operation);
  }

  /** Whether ways whose passes take `pass` milliseconds can be expected to fit into what is left. */
  #allows(ways: readonly Way[], pass: number): boolean {
    const expected = ways.length * (this.#overhead + passesOf(pass) * pass) + this.#compilation * this.#unknown(ways);
    return expected <= this.#left;
  }

  /** Shaders that were not compiled before. */
  #unknown(ways: readonly Way[]): number {
    const texts = ways.flatMap(({ launches = [] }) => launches.map(({ kernel }) => kernel.wgsl));
    return new Set(texts).difference(this.#compiled).size;
  }

  /** Times each way of an operation; none counts where one takes so long that there is no time for the next. */
  async #time(operation: Candidates, timer: Timer): Promise<KernelTimes> {
    const times: Record<string, number | null> = { ...untimed(operation) };
    let pass = this.#expect(operation);
    for (const [i, way] of operation.ways.entries()) {
      if (!this.#allows([way], pass)) return untimed(operation);
      const { kernels, launches } = way;
      if (launches && bytesOfMemory(launches) <= MOST_BYTES) {
        const time = times[kernels] = await this.#timeLaunches(launches, passesOf(pass), timer);
        pass = Math.max(pass, time ?? 0);
      } else if (i === 0) {
        // Without the rules' own, others would be chosen because they alone were timed.
        return times;
      }
    }
    const known = Object.values(times).filter((time) => time !== null && time > 0) as number[];
    this.#rate = Math.min(this.#rate, ...known.map((time) => time / sizeOf(operation)));
    return times;
  }

  async #timeLaunches(launches: readonly Launch[], passes: number, timer: Timer): Promise<number | null> {
    const texts = new Set(launches.map(({ kernel }) => kernel.wgsl));
    const unknown = texts.difference(this.#compiled).size;
    const started = this.#now();
    const time = await timer(launches, passes).catch(() => null);
    const took = this.#now() - started;
    this.#left -= took;
    const beside = took - passes * (time ?? 0);
    if (unknown > 0) this.#compilation = Math.max(this.#compilation, (beside - this.#overhead) / unknown);
    else this.#overhead = Math.max(this.#overhead, beside);
    for (const text of texts) this.#compiled.add(text);
    return time;
  }
}

/** Each operation once, those first that are most work, all their occurrences together. */
function inOrder(found: readonly Candidates[]): Candidates[] {
  const groups = [...Map.groupBy(found, ({ key }) => key).values()];
  const work = (group: readonly Candidates[]) => group.length * sizeOf(group[0]!);
  return groups.sort((a, b) => work(b) - work(a)).map((group) => group[0]!);
}

function untimed({ ways }: Candidates): KernelTimes {
  return Object.fromEntries(ways.map(({ kernels }) => [kernels, null]));
}

/** What an operation costs, in floating-point operations. */
function sizeOf({ flops, bytes }: Pick<Candidates, "flops" | "bytes">): number {
  return flops + FLOPS_PER_BYTE * bytes;
}

/** How often an operation is run whose pass is expected to take `milliseconds`. */
function passesOf(milliseconds: number): number {
  return Math.min(PASSES.most, Math.max(PASSES.least, Math.floor(PATIENCE / milliseconds)));
}

/** Bytes of all memory that launches use. */
function bytesOfMemory(launches: readonly Launch[]): number {
  const memories = new Set(launches.flatMap(({ memory }) => memory));
  return [...memories].reduce((sum, { layout }) => sum + bytesOf(layout), 0);
}
