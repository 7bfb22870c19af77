/**
 * Which parts of a model are on the GPU: all of them where they fit, otherwise what each stage of a picture needs, and
 * beside it what there is room for.
 * @module
 */
import { bytesOf, type Gpu, GpuMemoryError, type Memory, type Ops, Program } from "../kernels/mod.ts";
import type { PartName } from "../weights/mod.ts";
import type { StageName } from "./families/family.ts";
import type { PartWeights } from "./loras.ts";

/** What messages say of stages, and the parts whose weights they need. */
const STAGES: Readonly<Record<StageName, { readonly title: string; readonly parts: readonly PartName[] }>> = {
  encode: { title: "to encode", parts: [] },
  text: { title: "for the text", parts: ["text_encoder", "text_encoder_2"] },
  denoise: { title: "to denoise", parts: ["unet"] },
  decode: { title: "to decode", parts: ["vae"] },
};

/** What stages run. */
export type Staged = Readonly<Partial<Record<StageName, readonly Program[]>>>;

/** Bytes of GPU memory by what needs them. */
export type StageBytes = Readonly<Partial<Record<StageName, number>>>;

/**
 * Bytes of GPU memory that are used where nobody says otherwise, what a card of 8 GB has left for programs: a stage that
 * needs more by itself runs all the same, as far as the GPU has it.
 */
const BUDGET = 7 * 2 ** 30;

/** Brings weights, and lets go of them. That depends on what was asked for, never on what the GPU has left. */
export class Residency {
  readonly #gpu: Gpu;
  readonly #weights: PartWeights;
  readonly #ops: readonly Ops[];
  readonly #most: number | undefined;
  /** The programs of each stage that ran or will, of whichever pipeline. */
  readonly #programs = new Map<StageName, readonly Program[]>();

  /** `ops` are all that transform weights; where given, `most` bytes must suffice. */
  constructor(weights: PartWeights, ops: readonly [Ops, ...Ops[]], most?: number) {
    this.#gpu = ops[0].gpu;
    this.#weights = weights;
    this.#ops = ops;
    this.#most = most;
  }

  get #budget(): number {
    return this.#most ?? BUDGET;
  }

  /**
   * Plans for programs of which none has run: where those of all stages fit at once they share memory, and stay. Returns
   * what each stage needs by itself.
   *
   * @throws {GpuMemoryError} when one needs more than must suffice.
   */
  plan(programs: Staged): StageBytes {
    for (const program of [...this.#all(), ...Object.values(programs).flat()]) program.rest();
    this.#programs.clear();
    for (const [stage, own] of entriesOf(programs)) this.#programs.set(stage, own);
    const stages = [...this.#programs.keys()];
    const weights = new Set(this.#memoriesOf(this.#weights.names));
    // What stages leave behind for others.
    const left = new Set(this.#all().flatMap((program) => [...program.kept])).difference(weights);
    const needs = Object.fromEntries(stages.map((stage) => {
      const others = this.#loaded().filter((part) => !STAGES[stage].parts.includes(part));
      return [stage, this.#bytesIn([stage], left) - this.#bytesOf(others)];
    }));
    this.#check(needs);
    if (this.#bytesIn(stages) > this.#budget) return needs;
    for (const program of this.#all()) program.wake();
    return needs;
  }

  /** Brings all parts, if they fit at once. */
  async load(): Promise<void> {
    const { names } = this.#weights;
    const missing = names.filter((part) => !this.#weights.isLoaded(part));
    if (this.#gpu.bytes + this.#bytesOf(missing) > this.#budget) return;
    for (const part of missing) await this.#weights.bring(part);
  }

  /**
   * Makes a stage ready to run `programs`. Where there is not room for all, what can be computed again goes; then parts
   * that are not needed, as few bytes of them as suffice.
   *
   * @throws {GpuMemoryError} when it needs more than must suffice.
   * @throws {ModelFileError | ModelNotFoundError} when a file is not any more what it was.
   */
  async enter(stage: StageName, programs: readonly Program[]): Promise<void> {
    this.#replace(stage, programs);
    if (this.#bytesIn([stage]) > this.#budget) {
      // What the GPU still uses it would give back later.
      await this.#gpu.finish();
      for (const program of this.#all()) program.rest();
      const kept = new Set(programs.flatMap((program) => [...program.kept]));
      for (const ops of this.#ops) ops.forget(kept);
      this.#check({ [stage]: this.#drop(stage, this.#bytesIn([stage])) });
    }
    for (const part of this.#partsOf([stage])) await this.#weights.bring(part);
    for (const program of programs) program.wake();
  }

  /** Drops parts that `stage`, which is to take so many bytes, does not need; returns what is left of them. */
  #drop(stage: StageName, bytes: number): number {
    const others = entriesOf(STAGES).filter(([other]) => other !== stage).map(([, { parts }]) => {
      const loaded = this.#loaded().filter((part) => parts.includes(part));
      return { loaded, bytes: this.#bytesOf(loaded) };
    }).toSorted((a, b) => a.bytes - b.bytes);
    while (bytes > this.#budget && others.length > 0) {
      // The smallest that is enough; the largest where none is.
      const [dropped] = others.splice(others.findIndex((other) => bytes - other.bytes <= this.#budget), 1);
      for (const part of dropped!.loaded) this.#weights.drop(part);
      bytes -= dropped!.bytes;
    }
    return bytes;
  }

  #replace(stage: StageName, programs: readonly Program[]): void {
    for (const program of this.#programs.get(stage) ?? []) if (!programs.includes(program)) program.rest();
    this.#programs.set(stage, programs);
  }

  #all(): readonly Program[] {
    return [...this.#programs.values()].flat();
  }

  #loaded(): readonly PartName[] {
    return this.#weights.names.filter((part) => this.#weights.isLoaded(part));
  }

  #partsOf(stages: readonly StageName[]): readonly PartName[] {
    return this.#weights.names.filter((part) => stages.some((stage) => STAGES[stage].parts.includes(part)));
  }

  #memoriesOf(parts: readonly PartName[]): readonly Memory[] {
    return parts.flatMap((part) => this.#weights.memories(part));
  }

  #bytesOf(parts: readonly PartName[]): number {
    return this.#memoriesOf(parts).reduce((sum, { layout }) => sum + bytesOf(layout), 0);
  }

  /** What the GPU will hold when stages run, with all that is there now, and `more`. */
  #bytesIn(stages: readonly StageName[], more: Iterable<Memory> = []): number {
    const programs = stages.flatMap((stage) => this.#programs.get(stage) ?? []);
    const memories = [...this.#memoriesOf(this.#partsOf(stages)), ...more];
    return this.#gpu.bytes + Program.bytesToCome(this.#gpu, programs, memories);
  }

  #check(needs: StageBytes): void {
    const most = this.#most;
    if (most === undefined || Object.values(needs).every((bytes) => bytes <= most)) return;
    const told = entriesOf(needs).map(([stage, bytes]) => `${gibibytes(bytes)} ${STAGES[stage].title}`).join(", ");
    throw new GpuMemoryError(`It takes ${told}, and ${gibibytes(most)} of GPU memory may be used`);
  }
}

function entriesOf<T>(staged: Readonly<Partial<Record<StageName, T>>>): readonly (readonly [StageName, T])[] {
  return Object.entries(staged) as [StageName, T][];
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toPrecision(3)} GiB`;
}
