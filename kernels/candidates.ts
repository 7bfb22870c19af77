/**
 * An operation and the kernels that could run it, as they are timed.
 * @module
 */
import type { Launch } from "./backend.ts";

/** Kernels that can run one operation. */
export interface Way {
  /** What {@link Work.kernels} calls them. */
  readonly kernels: string;
  /** What they are for this operation; undefined where it is too large for them. */
  readonly launches: readonly Launch[] | undefined;
}

/** An operation, and all that can run it. */
export interface Candidates {
  /** The operation, its shape and element types. */
  readonly key: string;
  /** Floating-point operations. */
  readonly flops: number;
  /** Bytes of operands and result. */
  readonly bytes: number;
  /** What the rules choose comes first. */
  readonly ways: readonly Way[];
}

/** Milliseconds of each of an operation's kernels; null where they cannot run or were not reached. */
export type KernelTimes = Readonly<Record<string, number | null>>;

/** Runs launches `passes` times and returns what the fastest pass took, in milliseconds. May fail. */
export type Timer = (launches: readonly Launch[], passes: number) => Promise<number>;
