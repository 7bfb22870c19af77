/**
 * Which parts of a model are on the GPU, and of the ControlNets beside it: all of them where they fit, otherwise what each
 * stage of a picture needs, and beside it what there is room for.
 * @module
 */
import { bytesOf, type Gpu, GpuMemoryError, type Memory, type Ops, Program } from "../kernels/mod.ts";
import type { ByPart, PartName } from "../weights/mod.ts";
import type { StageName } from "./families/family.ts";

/** What messages say of stages, and the parts whose weights they need. */
const STAGES: Readonly<Record<StageName, { readonly title: string; readonly parts: readonly PartName[] }>> = {
  encode: { title: "to encode", parts: [] },
  text: { title: "for the text", parts: ["text_encoder", "text_encoder_2"] },
  denoise: { title: "to denoise", parts: ["unet"] },
  decode: { title: "to decode", parts: ["vae"] },
  enlarge: { title: "to enlarge", parts: [] },
};

/** Weights that come and go together. */
export interface ComingWeights {
  /** Whether their stage needs them; otherwise they are only there where there is room. */
  readonly isNeeded: boolean;
  /** Whether all of them are on the GPU, in whatever state. */
  readonly isLoaded: boolean;
  readonly memories: readonly Memory[];
  /**
   * Brings them in the state that is wanted; files must still be open.
   *
   * @throws {ModelFileError | ModelNotFoundError} when a file is not any more what it was.
   */
  bring(): Promise<void>;
  /** Gives their memory back; programs that use them must rest. */
  drop(): void;
}

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
  readonly #weights: ReadonlyMap<StageName, readonly ComingWeights[]>;
  readonly #ops: readonly Ops[];
  readonly #most: number | undefined;
  /** The programs of each stage that ran or will, of whichever pipeline. */
  readonly #programs = new Map<StageName, readonly Program[]>();

  /** `ops` are all that transform weights; where given, `most` bytes must suffice. */
  constructor(
    { parts, controlNets }: { readonly parts: ByPart<ComingWeights>; readonly controlNets: readonly ComingWeights[] },
    ops: readonly [Ops, ...Ops[]],
    most?: number,
  ) {
    this.#gpu = ops[0].gpu;
    this.#weights = new Map(
      entriesOf(STAGES).map(([stage, { parts: names }]) => {
        return [stage, [...names.flatMap((part) => parts[part] ?? []), ...(stage === "denoise" ? controlNets : [])]];
      }),
    );
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
    const weights = new Set(memoriesOf([...this.#weights.values()].flat()));
    // What stages leave behind for others.
    const left = new Set(this.#all().flatMap((program) => [...program.kept])).difference(weights);
    const needs = Object.fromEntries(stages.map((stage) => {
      const others = [...this.#weights.keys()].flatMap((other) => this.#idle(other, stage));
      return [stage, this.#bytesIn([stage], left) - sumOfBytes(others)];
    }));
    this.#check(needs);
    if (this.#bytesIn(stages) > this.#budget) return needs;
    for (const program of this.#all()) program.wake();
    return needs;
  }

  /** Brings all weights, if they fit at once. */
  async load(): Promise<void> {
    const missing = [...this.#weights.values()].flat().filter(({ isLoaded }) => !isLoaded);
    if (this.#gpu.bytes + sumOfBytes(missing) > this.#budget) return;
    for (const weights of missing) await weights.bring();
  }

  /**
   * Makes a stage ready to run `programs`. Where there is not room for all, what can be computed again goes; then weights
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
    for (const weights of this.#needed([stage])) await weights.bring();
    for (const program of programs) program.wake();
  }

  /** Drops weights that `stage`, which is to take so many bytes, does not need; returns what is left of them. */
  #drop(stage: StageName, bytes: number): number {
    const others = [...this.#weights.keys()].map((other) => {
      const loaded = this.#idle(other, stage);
      return { loaded, bytes: sumOfBytes(loaded) };
    }).toSorted((a, b) => a.bytes - b.bytes);
    while (bytes > this.#budget && others.length > 0) {
      // The smallest that is enough; the largest where none is.
      const [dropped] = others.splice(others.findIndex((other) => bytes - other.bytes <= this.#budget), 1);
      for (const weights of dropped!.loaded) weights.drop();
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

  /** What stages need. */
  #needed(stages: readonly StageName[]): readonly ComingWeights[] {
    return stages.flatMap((stage) => this.#weights.get(stage)!.filter(({ isNeeded }) => isNeeded));
  }

  /** What is there of a stage's weights and not needed in `running`. */
  #idle(stage: StageName, running: StageName): readonly ComingWeights[] {
    return this.#weights.get(stage)!.filter(({ isLoaded, isNeeded }) => isLoaded && !(stage === running && isNeeded));
  }

  /** What the GPU will hold when stages run, with all that is there now, and `more`. */
  #bytesIn(stages: readonly StageName[], more: Iterable<Memory> = []): number {
    const programs = stages.flatMap((stage) => this.#programs.get(stage) ?? []);
    const memories = [...memoriesOf(this.#needed(stages)), ...more];
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

function memoriesOf(weights: readonly ComingWeights[]): readonly Memory[] {
  return weights.flatMap(({ memories }) => memories);
}

function sumOfBytes(weights: readonly ComingWeights[]): number {
  return memoriesOf(weights).reduce((sum, { layout }) => sum + bytesOf(layout), 0);
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toPrecision(3)} GiB`;
}
