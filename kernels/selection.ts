/**
 * Which of several kernels runs an operation: what was timed on this adapter, otherwise what the rules say. An operation
 * is timed once, and then always runs the same kernels.
 * @module
 */
import type { AdapterInfo } from "./device.ts";
import type { Gpu } from "./gpu.ts";
import type { Launch, Way } from "./launch.ts";
import { Program } from "./program.ts";
import { bytesOf, type Memory } from "./tensor.ts";

/** Milliseconds of each of an operation's kernels; null where they cannot run or were not reached. */
export type KernelTimes = Readonly<Record<string, number | null>>;

/** Keeps times of operations from one run to the next. Neither of the two throws. */
export interface TimingStore {
  /** What was kept for an adapter, by an operation's backend, element types, name and shape. */
  read(adapter: AdapterInfo): ReadonlyMap<string, KernelTimes>;
  /** Keeps all that is known of an adapter. */
  write(adapter: AdapterInfo, times: ReadonlyMap<string, KernelTimes>): void;
}

/** How kernels are selected. */
export interface SelectionOptions {
  /** Where times are kept; without one they are forgotten with the pipeline. */
  readonly store?: TimingStore;
  /** Whether to time also where the rules were measured, and what earlier runs did not reach; default no. */
  readonly tune?: boolean;
}

/** An operation, and all that can run it. */
export interface Candidates {
  /** The operation, its shape and element types. */
  readonly key: string;
  readonly flops: number;
  readonly bytes: number;
  /** What the rules choose comes first. */
  readonly ways: readonly Way[];
}

/** Runs launches a few times and returns what the fastest pass took, in milliseconds. May fail. */
export type Timer = (launches: readonly Launch[]) => Promise<number>;

/**
 * Milliseconds for all timings of a process together. No timing begins later; the last one, which cannot be stopped,
 * takes less than the step of a picture that runs the same operation.
 */
const BUDGET = 2000;

/** Passes of one timing: the first one warms up. */
const PASSES = 4;

/** Kernels that need more memory than this for one operation are not timed: they might not fit. */
const MOST_BYTES = 2 ** 30;

/** What a byte of memory counts in floating-point operations: GPUs and CPUs do 10 to 20 while they move one. */
const FLOPS_PER_BYTE = 16;

/** Whether the rules were measured on adapters like this one. */
export function hasTable({ description, vendor }: AdapterInfo): boolean {
  return /llvmpipe|NVIDIA/i.test(description) || vendor === "4318";
}

export class Selection {
  /** Whether {@link measure} times anything. */
  readonly times: boolean;
  readonly #adapter: AdapterInfo;
  readonly #store: TimingStore | undefined;
  readonly #kept: Map<string, KernelTimes>;
  readonly #tune: boolean;
  readonly #now: () => number;
  #left = BUDGET;

  /** Reads what is kept for `adapter`. `now` is a clock of milliseconds. */
  constructor(adapter: AdapterInfo, options: SelectionOptions = {}, now: () => number = () => performance.now()) {
    const { store, tune = false } = options;
    this.times = tune || !hasTable(adapter);
    this.#adapter = adapter;
    this.#store = store;
    this.#kept = new Map(store?.read(adapter));
    this.#tune = tune;
    this.#now = now;
  }

  /** Times that an earlier run kept under `key`, unless all is to be timed again. */
  recall(key: string): KernelTimes | undefined {
    return this.#tune ? undefined : this.#kept.get(key);
  }

  /** Keeps times that were not taken by {@link measure}. */
  keep(key: string, times: KernelTimes): void {
    this.#kept.set(key, times);
    this.#store?.write(this.#adapter, this.#kept);
  }

  /** Which of `kernels` was timed as the fastest; undefined where the rules choose. */
  fastest(key: string, kernels: readonly string[]): string | undefined {
    const times = this.#kept.get(key) ?? {};
    const timed = kernels.filter((name) => typeof times[name] === "number");
    return timed.sort((a, b) => times[a]! - times[b]!)[0];
  }

  /** Whether {@link measure} is to time an operation that `kernels` can run. */
  wants(key: string, kernels: readonly string[]): boolean {
    const times = this.#kept.get(key);
    if (!this.times || !times) return this.times;
    const reached = Object.values(times).some((time) => time !== null);
    return kernels.some((name) => !Object.hasOwn(times, name)) || this.#tune && !reached;
  }

  /**
   * Times operations, the most work first, and keeps the times; `found` may hold one several times. An operation that
   * is not reached in time is kept as such, so that the rules choose for it in later runs as well.
   */
  async measure(found: readonly Candidates[], timer: Timer): Promise<void> {
    if (found.length === 0) return;
    for (const { key, ways } of inOrder(found)) {
      this.#kept.set(key, { ...this.#kept.get(key), ...await this.#time(ways, timer) });
    }
    this.#store?.write(this.#adapter, this.#kept);
  }

  /** Times of all ways; of none if time runs out before the last, or if the rules' own way cannot be timed. */
  async #time(ways: readonly Way[], timer: Timer): Promise<KernelTimes> {
    const times = new Map<string, number | null>(ways.map(({ kernels }) => [kernels, null]));
    const untimed = Object.fromEntries(times);
    for (const way of ways) {
      if (this.#left <= 0) return untimed;
      const started = this.#now();
      const time = await this.#attempt(way, timer);
      this.#left -= this.#now() - started;
      if (time === null && way === ways[0]) return untimed;
      times.set(way.kernels, time);
    }
    return Object.fromEntries(times);
  }

  async #attempt({ launches }: Way, timer: Timer): Promise<number | null> {
    try {
      const built = launches();
      return bytesOfMemory(built) <= MOST_BYTES ? await timer(built) : null;
    } catch {
      // Whatever it was: the rules' own kernels run.
      return null;
    }
  }
}

/** Each operation once, those first that are most work, all their occurrences together. */
function inOrder(found: readonly Candidates[]): readonly Candidates[] {
  const groups = [...Map.groupBy(found, ({ key }) => key).values()];
  const work = (group: readonly Candidates[]) => group.length * (group[0]!.flops + FLOPS_PER_BYTE * group[0]!.bytes);
  return groups.sort((a, b) => work(b) - work(a)).map((group) => group[0]!);
}

function bytesOfMemory(launches: readonly Launch[]): number {
  const memories = new Set(launches.flatMap(({ memory }) => memory));
  return [...memories].reduce((sum, { layout }) => sum + bytesOf(layout), 0);
}

/**
 * Times launches on a GPU, in memory of their own: what they would read and write stays as it is. What the GPU refuses
 * meanwhile, memory above all, fails the timing and nothing else.
 */
export function timerOf(gpu: Gpu): Timer {
  return (launches) =>
    gpu.attempt(async () => {
      const own = new Map<Memory, Memory>();
      const ownOf = (memory: Memory): Memory => {
        if (!own.has(memory)) own.set(memory, { ...memory, kept: false });
        return own.get(memory)!;
      };
      const program = new Program(gpu, launches.map(({ kernel, memory }) => ({ kernel, memory: memory.map(ownOf) })));
      try {
        return Math.min(...await program.time(PASSES));
      } finally {
        program.dispose();
      }
    });
}
