/**
 * The kernels that an operation can choose between, one against the other.
 * @module
 */
import { AUTO, BASELINE, type Optimizations } from "../../kernels/optimizations.ts";
import type { Pipeline } from "../pipeline.ts";
import type { Request } from "../request.ts";
import { measureOperations, type OperationTime } from "./operations.ts";

export interface Choice {
  readonly operation: string;
  readonly flops: number;
  readonly bytes: number;
  /** How what runs was chosen; absent where the optimizations that are on leave no choice. */
  readonly by?: "table" | "timing";
  readonly kernels: readonly KernelTime[];
}

export interface KernelTime {
  /** What {@link Work.kernels} calls them. */
  readonly name: string;
  readonly milliseconds: number;
  readonly chosen: boolean;
}

const FORCED: Optimizations = { ...AUTO, shapes: "all" };

/** Between them these run every kernel for every shape that it can run. */
const VARIANTS: readonly Optimizations[] = [BASELINE, { ...FORCED, flash: false }, FORCED];

/**
 * Measures every kernel that could run an operation of `request`.
 *
 * @throws {NoGpuError} when the GPU has no timestamps.
 */
export async function measureChoices(pipeline: Pipeline, request: Request): Promise<readonly Choice[]> {
  const chosen = await operationsOf(pipeline, request);
  const all = [...chosen];
  for (const variant of VARIANTS) {
    await using other = pipeline.with(variant);
    all.push(...await operationsOf(other, request));
  }
  const choices = [...Map.groupBy(all, ({ operation }) => operation)].map(([operation, times]): Choice => {
    const { flops, bytes, count, by } = times[0]!;
    const kernels = [...Map.groupBy(times, ({ kernels }) => kernels)].map(([name, times]): KernelTime => ({
      name,
      milliseconds: Math.min(...times.map(({ milliseconds, count }) => milliseconds / count)),
      chosen: chosen.some((time) => time.operation === operation && time.kernels === name),
    }));
    return { operation, flops: flops / count, bytes: bytes / count, kernels, ...(by && { by }) };
  });
  return choices.filter(({ kernels }) => kernels.length > 1);
}

async function operationsOf(pipeline: Pipeline, request: Request): Promise<readonly OperationTime[]> {
  const { step, decode } = await measureOperations(pipeline, request);
  return [...step, ...decode];
}
