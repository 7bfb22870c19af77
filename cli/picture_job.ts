/**
 * Pictures that are going to be made, planned before a model is opened.
 * @module
 */
import type { Args } from "@std/cli";
import { UsageError } from "./errors.ts";
import type { OptionValues } from "./options.ts";
import { fillIn } from "./picture_name.ts";

/** Where an entry of a run stands. */
export interface Place {
  /** Which picture of the run, from 1. */
  readonly index: number;
  /** The line of the batch file that asks for it, from 1. */
  readonly line?: number;
}

/** A picture that is going to be made. */
export interface Job extends Place {
  /** Its options. */
  readonly values: OptionValues;
  /** Its options as they were given, still text. */
  readonly options: Args;
  /** What to draw. */
  readonly prompt: string;
  /** Seed of the noise. */
  readonly seed: bigint;
  /** The file it goes to; `-` is standard output. */
  readonly name: string;
  /** Whether it takes the place of a file of that name, or gets a number behind its own. */
  readonly replaces: boolean;
}

/** A picture that was refused before its turn. */
export interface Refusal extends Place {
  /** Why. */
  readonly error: Error;
}

/** What a run is asked for. */
export type Entry = Job | Refusal;

/** Whether an entry was refused. */
export function isRefusal(entry: Entry): entry is Refusal {
  return "error" in entry;
}

/** What is asked for at once: `--count` pictures that differ by their seeds. */
export interface Order extends Place {
  /** The options. */
  readonly values: OptionValues;
  /** The options as they were given, still text. */
  readonly options: Args;
  /** What to draw. */
  readonly prompt: string;
  /** Seed of the first picture. */
  readonly seed: bigint;
  /** Name of a picture when no option gives one. */
  readonly template: string;
  /** Whether pictures of that name take the place of what is there. */
  readonly replaces: boolean;
}

const LAST_SEED = 2n ** 64n - 1n;

/**
 * The pictures of an order, indices and seeds counted up from the first one's.
 *
 * @throws {UsageError} when a seed would not fit into 64 bits, or the template cannot be filled in.
 */
export function jobsOf({ template, ...order }: Order): Job[] {
  const { values, prompt } = order;
  const count = values.count;
  if (order.seed + BigInt(count - 1) > LAST_SEED) {
    throw new UsageError(`Seeds of ${count} pictures from ${order.seed} on would pass ${LAST_SEED}`);
  }
  return Array.from({ length: count }, (_, offset) => {
    const index = order.index + offset;
    const seed = order.seed + BigInt(offset);
    const name = fillIn(values.output ?? template, { index, seed, prompt });
    return { ...order, index, seed, name, replaces: order.replaces || values.output !== undefined };
  });
}
