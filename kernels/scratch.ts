/**
 * The memory that recordings pass values through. Programs of a GPU run one after the other, so all of them share it.
 * @module
 */
import type { Launch } from "./launch.ts";
import { bytesOf, type Layout, type Memory } from "./tensor.ts";

/** Real memory, or what stands for it. */
export interface Sized {
  readonly bytes: number;
}

/** Where memory comes from: {@link Gpu}. */
export interface Allocator<Made extends Sized> {
  allocate(layout: Layout, label: string): Made;
  release(resource: Made): void;
}

/** Memory that holds values of one program after the other, and within a program one after the other. */
interface Home<Made extends Sized> {
  /** What it was made for: what else lives in it is as large or smaller. */
  readonly layout: Layout;
  readonly resource: Made;
  users: number;
}

/** The launches between which a memory holds a value. */
interface Life {
  readonly memory: Memory;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

interface Claim<Made extends Sized> {
  readonly launches: readonly Launch[];
  readonly bind: (places: ReadonlyMap<Memory, Made>) => void;
}

export class Scratch<Made extends Sized> {
  readonly #allocator: Allocator<Made>;
  readonly #homes = new Set<Home<Made>>();
  readonly #claims = new Set<Claim<Made>>();

  constructor(allocator: Allocator<Made>) {
    this.#allocator = allocator;
  }

  /**
   * Calls `bind` with homes for `launches` at the next {@link settle}: then what passes the largest values comes first,
   * whichever was recorded first, and all else fits into its memory. Launches that pass nothing through memory need not
   * wait for it. Returns what takes the claim back.
   */
  claim(launches: readonly Launch[], bind: Claim<Made>["bind"]): () => void {
    const claim = { launches, bind };
    if (livesOf(launches).length === 0) bind(new Map());
    else this.#claims.add(claim);
    return () => this.#claims.delete(claim);
  }

  /** Gives homes to all that claimed some. */
  settle(): void {
    const largest = ({ launches }: Claim<Made>) =>
      livesOf(launches).reduce((most, { bytes }) => Math.max(most, bytes), 0);
    const sized = [...this.#claims].map((claim) => ({ claim, bytes: largest(claim) }));
    for (const { claim } of sized.sort((a, b) => b.bytes - a.bytes)) {
      const places = this.take(claim.launches);
      this.#claims.delete(claim);
      claim.bind(places);
    }
  }

  /**
   * A home for every memory that lives only within `launches`, shared by those whose lives do not overlap. The largest
   * are placed first, each in the smallest home that fits and is free (greedy by size, arXiv 2001.03288 section 4).
   */
  take(launches: readonly Launch[]): ReadonlyMap<Memory, Made> {
    const taken = new Map<Home<Made>, Life[]>();
    const places = new Map<Memory, Made>();
    for (const life of livesOf(launches)) {
      const { layout, label } = life.memory;
      const free = [...this.#homes].filter((home) =>
        fits(home.layout, layout) && !taken.get(home)?.some((other) => overlap(life, other))
      );
      const smallest = free.sort((a, b) => a.resource.bytes - b.resource.bytes)[0];
      const home = smallest ?? { layout, resource: this.#allocator.allocate(layout, label), users: 0 };
      this.#homes.add(home);
      taken.set(home, [...taken.get(home) ?? [], life]);
      places.set(life.memory, home.resource);
    }
    for (const home of taken.keys()) home.users++;
    return places;
  }

  /** Ends the use of what {@link take} returned once; what no program uses any more is given back. */
  give(places: ReadonlyMap<Memory, Made>): void {
    const used = new Set(places.values());
    for (const home of this.#homes) {
      if (!used.has(home.resource) || --home.users > 0) continue;
      this.#homes.delete(home);
      this.#allocator.release(home.resource);
    }
  }
}

/** Lives of the memories that do not outlive `launches`, the largest first. */
function livesOf(launches: readonly Launch[]): readonly Life[] {
  const lives = new Map<Memory, Life>();
  launches.forEach((launch, last) => {
    for (const memory of launch.memory) {
      if (memory.kept) continue;
      lives.set(memory, { memory, bytes: bytesOf(memory.layout), first: lives.get(memory)?.first ?? last, last });
    }
  });
  return [...lives.values()].sort((a, b) => b.bytes - a.bytes);
}

function overlap(a: Life, b: Life): boolean {
  return a.first <= b.last && b.first <= a.last;
}

/**
 * Whether memory of one layout can hold values of another. A texture holds a smaller one in its upper left corner, at
 * least half as wide: rows that lie far apart share the cache's sets (llvmpipe: a decoder is 15 % slower).
 */
function fits(home: Layout, wanted: Layout): boolean {
  if (home.kind === "texture" && wanted.kind === "texture") {
    const near = home.width >= wanted.width && home.width <= 2 * wanted.width;
    return near && home.height >= wanted.height && home.format === wanted.format;
  }
  return home.kind === "buffer" && wanted.kind === "buffer" && home.bytes >= wanted.bytes;
}
