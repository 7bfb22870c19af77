/**
 * What the operations of a stage take.
 * @module
 */
import type { Work } from "../../kernels/launch.ts";
import type { PassTime, Program } from "../../kernels/program.ts";
import type { Pipeline, StageProgram } from "../pipeline.ts";
import type { Request } from "../request.ts";
import { SLOW } from "./stages.ts";

/** An operation that a stage performs {@link count} times; the other numbers are sums over them. */
export interface OperationTime extends Work {
  readonly count: number;
  readonly launches: number;
  /** On the GPU's clock. */
  readonly milliseconds: number;
}

/** Operations of one denoising step and of the VAE's decoder, those that take longest first. */
export interface StageOperations {
  readonly step: readonly OperationTime[];
  readonly decode: readonly OperationTime[];
}

/** Profiles of a stage, of which each pass's fastest counts; a {@link SLOW} stage has one. */
const PROFILES = 3;

/**
 * Measures the operations of `request`, each in a pass of its own.
 *
 * @throws {NoGpuError} when the GPU has no timestamps.
 */
export async function measureOperations(pipeline: Pipeline, request: Request): Promise<StageOperations> {
  const { step, decode } = await pipeline.stages(request);
  const of = async ({ enter, program }: StageProgram) => {
    await enter();
    return operationsOf(await profile(program));
  };
  return { step: await of(step), decode: await of(decode) };
}

/** Each operation of a program at its fastest. */
async function profile(program: Program): Promise<readonly PassTime[]> {
  let best = await program.profile();
  const slow = best.reduce((sum, { milliseconds }) => sum + milliseconds, 0) > SLOW;
  for (let i = 1; i < PROFILES && !slow; i++) {
    const times = await program.profile();
    best = best.map((pass, i) => times[i]!.milliseconds < pass.milliseconds ? times[i]! : pass);
  }
  return best;
}

/** Puts equal operations together; a launch that belongs to none is one. */
function operationsOf(passes: readonly PassTime[]): readonly OperationTime[] {
  const performed = passes.map(({ name, work, ...measured }) => ({
    ...work ?? { operation: name, elements: "", kernels: "one shader", flops: 0, bytes: 0 },
    ...measured,
  }));
  const groups = Map.groupBy(performed, ({ operation, kernels }) => `${operation}, ${kernels}`);
  const operations = [...groups.values()].map((equal): OperationTime => {
    const sum = (name: "flops" | "bytes" | "launches" | "milliseconds") =>
      equal.reduce((sum, pass) => sum + pass[name], 0);
    return {
      ...equal[0]!,
      flops: sum("flops"),
      bytes: sum("bytes"),
      count: equal.length,
      launches: sum("launches"),
      milliseconds: sum("milliseconds"),
    };
  });
  return operations.toSorted((a, b) => b.milliseconds - a.milliseconds);
}
