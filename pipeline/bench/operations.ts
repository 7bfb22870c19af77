/**
 * What the operations of a stage take.
 * @module
 */
import type { Work } from "../../kernels/family.ts";
import type { LaunchTime, Program } from "../../kernels/program.ts";
import type { Pipeline } from "../pipeline.ts";
import type { Request } from "../request.ts";
import { SLOW } from "./stages.ts";

/** An operation that a stage performs {@link count} times; the other numbers are sums over them. */
export interface OperationTime extends Work {
  /** How often. */
  readonly count: number;
  /** Launches of kernels. */
  readonly launches: number;
  /** On the GPU's clock. */
  readonly milliseconds: number;
}

/** Operations of one denoising step and of the VAE's decoder, those that take longest first. */
export interface StageOperations {
  /** Of one denoising step. */
  readonly step: readonly OperationTime[];
  /** Of the decoder. */
  readonly decode: readonly OperationTime[];
}

/** Profiles of a stage, of which each launch's fastest counts; a {@link SLOW} stage has one. */
const PROFILES = 3;

/**
 * Measures the operations of `request`, each launch in a pass of its own.
 *
 * @throws {NoGpuError} when the GPU has no timestamps.
 */
export async function measureOperations(pipeline: Pipeline, request: Request): Promise<StageOperations> {
  const { step, decode } = await pipeline.stages(request);
  return { step: operationsOf(await profile(step)), decode: operationsOf(await profile(decode)) };
}

/** Each launch of a program at its fastest. */
async function profile(program: Program): Promise<readonly LaunchTime[]> {
  let best = await program.profile();
  const slow = best.reduce((sum, { milliseconds }) => sum + milliseconds, 0) > SLOW;
  for (let i = 1; i < PROFILES && !slow; i++) {
    const times = await program.profile();
    best = best.map((launch, i) => times[i]!.milliseconds < launch.milliseconds ? times[i]! : launch);
  }
  return best;
}

/** Puts launches of equal operations together; a launch that belongs to none is one. */
function operationsOf(launches: readonly LaunchTime[]): readonly OperationTime[] {
  const works = launches.map(({ name, work }) =>
    work ?? { operation: name, elements: "", kernels: "one shader", flops: 0, bytes: 0 }
  );
  const groups = Map.groupBy(launches.keys(), (i) => `${works[i]!.operation}, ${works[i]!.kernels}`);
  const operations = [...groups.values()].map((indices): OperationTime => {
    const performed = [...new Set(indices.map((i) => works[i]!))];
    const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
    return {
      ...performed[0]!,
      flops: sum(performed.map(({ flops }) => flops)),
      bytes: sum(performed.map(({ bytes }) => bytes)),
      count: performed.length,
      launches: indices.length,
      milliseconds: sum(indices.map((i) => launches[i]!.milliseconds)),
    };
  });
  return operations.toSorted((a, b) => b.milliseconds - a.milliseconds);
}
