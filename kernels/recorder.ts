/**
 * Records launches as operations, of which each is performed by one of the kernels that can.
 * @module
 */
import type { Candidates } from "./candidates.ts";
import { GpuMemoryError } from "./errors.ts";
import type { Backend, Launch, Operation, Work } from "./backend.ts";
import type { Gpu } from "./gpu.ts";
import { AUTO, type Optimizations } from "./optimizations.ts";
import { plannedBytes, Program } from "./program.ts";
import type { Selection } from "./selection.ts";
import { timerOf } from "./timing.ts";

/** What decides which kernels a {@link Recorder} records. */
export interface RecorderOptions {
  /** What may run; default {@link AUTO}. */
  readonly optimizations?: Optimizations;
  /** What chooses among it where shapes are `measured`; by default the rules of choice.ts. */
  readonly selection?: Selection;
  /**
   * Most bytes for weights that Winograd's convolutions transform once; the others are transformed in every run. Default
   * {@link TRANSFORMED_BYTES}.
   */
  readonly transformedBytes?: number;
}

/**
 * Transformed weights take four times what weights take in float32, eight times in float16. To transform them in every
 * run takes a thirtieth of the time of their convolutions (H100), so memory for a few is enough.
 */
const TRANSFORMED_BYTES = 160 << 20;

/** One way to perform an operation. */
export interface Recipe {
  /** What {@link Work.kernels} calls it. */
  readonly kernels: string;
  /** Records its launches. */
  readonly build: () => void;
}

/** Records operations. */
export class Recorder {
  /** The device. */
  readonly gpu: Gpu;
  /** The kernels in use. */
  readonly backend: Backend;
  /** What may run of them. */
  readonly optimizations: Optimizations;
  /** What chooses among them. */
  readonly selection?: Selection;
  /** See {@link RecorderOptions.transformedBytes}. */
  readonly transformedBytes: number;
  #launches: Launch[] = [];
  #work: Work | undefined;
  /** Operations that a survey has found, instead of a recording. */
  #found: Candidates[] | undefined;

  /** Records for `gpu` with the kernels of `backend`. Layers of one serve another of the same GPU and backend. */
  constructor(
    gpu: Gpu,
    backend: Backend,
    { optimizations = AUTO, selection, transformedBytes = TRANSFORMED_BYTES }: RecorderOptions = {},
  ) {
    this.gpu = gpu;
    this.backend = backend;
    this.optimizations = optimizations;
    if (selection) this.selection = selection;
    this.transformedBytes = transformedBytes;
  }

  /**
   * Times the kernels of operations that `build` calls, where that is needed to choose among them: the next
   * {@link record} runs what is fastest. Nothing of `build` runs.
   */
  async tune(build: () => void): Promise<void> {
    if (!this.selection?.times) return;
    const found = this.#found = [];
    try {
      this.#capture(build);
    } finally {
      this.#found = undefined;
    }
    await this.selection.measure(found, timerOf(this.gpu));
  }

  /** Records what `build` calls and makes it a program. */
  record(build: () => void): Program {
    return new Program(this.gpu, this.#capture(build));
  }

  /**
   * Bytes of the memory that a program of `build` would pass values through.
   *
   * @throws {GpuMemoryError} when one binding cannot hold a value.
   */
  plannedBytes(build: () => void): number {
    return plannedBytes(this.gpu, this.#capture(build));
  }

  /** The launches of what `build` calls. */
  #capture(build: () => void): readonly Launch[] {
    const outer = this.#launches;
    this.#launches = [];
    try {
      build();
      return this.#launches;
    } finally {
      this.#launches = outer;
    }
  }

  /** {@link #capture}, or undefined where kernels refuse the shape that they would not be chosen for. */
  #captureIfFits(build: () => void): readonly Launch[] | undefined {
    try {
      return this.#capture(build);
    } catch (error) {
      if (error instanceof RangeError || error instanceof GpuMemoryError) return undefined;
      throw error;
    }
  }

  /** Whether launches are looked at and never run, as {@link tune} does. */
  protected get surveying(): boolean {
    return this.#found !== undefined;
  }

  /** Records launches that no method covers. */
  launch(...launches: readonly Launch[]): void {
    const work = this.#work;
    this.#launches.push(...launches.map((launch) => work ? { ...launch, work } : launch));
  }

  /** Records one of `recipes`, of which the rules prefer the first; an operation inside of another belongs to it. */
  protected perform(operation: Operation, recipes: readonly Recipe[]): void {
    const outer = this.#work;
    const { build, ...chosen } = this.#choose(operation, recipes);
    this.#work ??= { ...operation, ...chosen };
    try {
      build();
    } finally {
      this.#work = outer;
    }
  }

  #choose(operation: Operation, recipes: readonly Recipe[]): Recipe & Pick<Work, "by"> {
    const first = recipes[0]!;
    if (this.optimizations.shapes !== "measured" || recipes.length === 1) return first;
    const key = `${this.backend.name} ${operation.elements} ${operation.operation}`;
    const names = recipes.map(({ kernels }) => kernels);
    if (this.#found && this.selection?.wants(key, names)) {
      const ways = recipes.map(({ kernels, build }) => ({ kernels, launches: this.#captureIfFits(build) }));
      this.#found.push({ key, ...operation, ways });
    }
    const timed = this.selection?.fastest(key, names);
    if (timed === undefined) return { ...first, by: "table" };
    return { ...recipes.find(({ kernels }) => kernels === timed)!, by: "timing" };
  }
}
