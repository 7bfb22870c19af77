/**
 * Which of several kernels runs an operation: what was timed on this adapter, otherwise what the rules in choice.ts
 * say. An operation is timed once, and then always runs the same kernels.
 * @module
 */
import type { Candidates, KernelTimes, Timer } from "./candidates.ts";
import type { AdapterInfo } from "./device.ts";
import { Budget } from "./timing_budget.ts";

/** Keeps times of operations from one run to the next. Neither of the two throws. */
export interface TimingStore {
  /** What was kept for an adapter, by {@link Candidates.key}. */
  read(adapter: AdapterInfo): ReadonlyMap<string, KernelTimes>;
  /** Keeps all that is known of an adapter. */
  write(adapter: AdapterInfo, times: ReadonlyMap<string, KernelTimes>): void;
}

/** How kernels are selected. */
export interface SelectionOptions {
  /** Where times are kept; without one they are forgotten with the {@link Selection}. */
  readonly store?: TimingStore;
  /** Whether to time also where the rules were measured, and what earlier runs did not reach; default no. */
  readonly tune?: boolean;
}

/** Whether the rules of choice.ts were measured on adapters like this one. */
export function hasTable({ description, vendor }: AdapterInfo): boolean {
  return /llvmpipe|NVIDIA/i.test(description) || vendor === "4318";
}

/** The selection for one adapter. */
export class Selection {
  /** Whether {@link measure} times anything. */
  readonly times: boolean;
  readonly #adapter: AdapterInfo;
  readonly #store: TimingStore | undefined;
  readonly #kept: Map<string, KernelTimes>;
  readonly #tune: boolean;
  readonly #budget: Budget;

  /** Reads what is kept for `adapter`. `now` is a clock of milliseconds. */
  constructor(adapter: AdapterInfo, options: SelectionOptions = {}, now: () => number = () => performance.now()) {
    const { store, tune = false } = options;
    this.times = tune || !hasTable(adapter);
    this.#adapter = adapter;
    this.#store = store;
    this.#kept = new Map(store?.read(adapter));
    this.#tune = tune;
    this.#budget = new Budget(now);
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
   * Times operations and keeps the times, those first that are most work in all; `found` may hold one several times.
   * When the budget of 2 s, which all calls share, is used up, the others are kept as not reached: the rules go on
   * choosing for them, in later runs, too.
   */
  async measure(found: readonly Candidates[], timer: Timer): Promise<void> {
    if (found.length === 0) return;
    const timed = await this.#budget.spend(found, timer);
    for (const [key, times] of timed) this.#kept.set(key, { ...this.#kept.get(key), ...times });
    this.#store?.write(this.#adapter, this.#kept);
  }
}
