/**
 * Records launches as operations, each of them performed in one of the ways that there are.
 * @module
 */
import type { Backend } from "./backend.ts";
import type { Gpu } from "./gpu.ts";
import type { Launch, Operation, Way, Work } from "./launch.ts";
import { AUTO, type Optimizations } from "./optimizations.ts";
import { plannedBytes, Program } from "./program.ts";
import { type Candidates, type Selection, timerOf } from "./selection.ts";

export interface RecorderOptions {
  /** What may run; default {@link AUTO}. */
  readonly optimizations?: Optimizations;
  /** What chooses among it where shapes are `measured`; by default the rules. */
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

export class Recorder {
  readonly gpu: Gpu;
  /** The backend that it was given, and the one that records: without matrices where they are off. */
  readonly given: Backend;
  readonly backend: Backend;
  readonly optimizations: Optimizations;
  readonly selection?: Selection;
  readonly transformedBytes: number;
  #launches: Launch[] = [];
  /** What must have run before the launches do. */
  #before: (() => void)[] = [];
  /** Operations that a survey has found, until they are timed. */
  #found: Candidates[] | undefined;

  /** Records for `gpu` with the kernels of `backend`. Layers of one serve another of the same GPU and backend. */
  constructor(
    gpu: Gpu,
    backend: Backend,
    { optimizations = AUTO, selection, transformedBytes = TRANSFORMED_BYTES }: RecorderOptions = {},
  ) {
    this.gpu = gpu;
    this.given = backend;
    this.backend = optimizations.matrices ? backend : backend.withoutMatrices ?? backend;
    this.optimizations = optimizations;
    if (selection) this.selection = selection;
    this.transformedBytes = transformedBytes;
  }

  /**
   * Times the kernels of the operations in `build` where that is needed to choose among them, so that the next
   * {@link record} takes the fastest. `build` itself does not run on the GPU.
   */
  async tune(build: () => void): Promise<void> {
    if (!this.selection?.times) return;
    const found = this.#found = [];
    try {
      this.#capture(build);
      await this.selection.measure(found, timerOf(this.gpu));
    } finally {
      this.#found = undefined;
    }
  }

  record(build: () => void): Program {
    const { launches, before } = this.#capture(build);
    return new Program(this.gpu, launches, before);
  }

  /**
   * Bytes of the memory that a program of `build` would pass values through.
   *
   * @throws {GpuMemoryError} when one binding cannot hold a value.
   */
  plannedBytes(build: () => void): number {
    return plannedBytes(this.gpu, this.#capture(build).launches);
  }

  #capture(build: () => void) {
    const [launches, before] = [this.#launches, this.#before];
    [this.#launches, this.#before] = [[], []];
    try {
      build();
      return { launches: this.#launches, before: this.#before };
    } finally {
      [this.#launches, this.#before] = [launches, before];
    }
  }

  /** Notes what must have run before what is recorded. */
  protected require(act: () => void): void {
    this.#before.push(act);
  }

  /** Whether {@link tune} is looking for operations to time, and nothing runs. */
  protected get surveying(): boolean {
    return this.#found !== undefined;
  }

  /** Records launches that no method covers. */
  launch(...launches: readonly Launch[]): void {
    this.#launches.push(...launches);
  }

  /** Records an operation in one of its ways; the rules prefer the first. */
  protected perform(operation: Operation, ways: readonly Way[]): void {
    const { launches, ...chosen } = this.#choose(operation, ways);
    const work = { ...operation, ...chosen };
    this.launch(...launches().map((launch) => ({ ...launch, work })));
  }

  #choose(operation: Operation, ways: readonly Way[]): Way & Pick<Work, "by"> {
    const first = ways[0]!;
    if (this.optimizations.shapes !== "measured" || ways.length === 1) return first;
    const key = `${this.backend.name} ${operation.elements} ${operation.operation}`;
    const names = ways.map(({ kernels }) => kernels);
    if (this.#found && this.selection?.wants(key, names)) this.#found.push({ key, ...operation, ways });
    const timed = this.selection?.fastest(key, names);
    if (timed === undefined) return { ...first, by: "table" };
    return { ...ways.find(({ kernels }) => kernels === timed)!, by: "timing" };
  }
}
