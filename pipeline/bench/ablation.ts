/**
 * The paper's table 1 (arXiv 2304.11267) for this machine: one optimization after the other.
 * @module
 */
import { AUTO, BASELINE, type Optimizations } from "../../kernels/optimizations.ts";
import type { Pipeline } from "../pipeline.ts";
import type { Request } from "../request.ts";
import { type StageTimes, summarise, type Times, timeStages } from "./stages.ts";

export interface AblationRow {
  /** What this row adds to those above it. */
  readonly name: string;
  readonly kernels: Optimizations;
  readonly times: StageTimes;
}

/** What each row of the paper's table switches on. */
const ADDITIONS: readonly (readonly [name: string, added: Partial<Optimizations>])[] = [
  ["baseline", { shapes: "paper" }],
  ["+ partially fused softmax", { softmax: true }],
  ["+ group norm and GELU kernels", { normalization: true, gelu: true }],
  ["+ FlashAttention", { flash: true }],
  ["+ Winograd", { winograd: true }],
  ["where measured to pay", { ...AUTO, matrices: false }],
  ["+ matrices", AUTO],
];

/** The rows are measured in turn, several times over, so that what disturbs the machine for a while disturbs all. */
const DEFAULTS = { rounds: 3, budget: 1000 };

export interface AblationOptions {
  /** How often each row is measured; default 3. */
  readonly rounds?: number;
  /** How long pictures of each row are measured in a round, in milliseconds; default 1000. */
  readonly budget?: number;
  readonly onRow?: (name: string, round: number) => void;
}

/**
 * Measures `request` with nothing, then with one more of the paper's optimizations at a time, for the shapes that the
 * paper runs them for; then with all of them for the shapes that they pay for by measurement, and last on a subgroup's
 * matrices where the adapter has them.
 *
 * @throws {NoGpuError} when the GPU has no timestamps.
 */
export async function measureAblation(
  pipeline: Pipeline,
  request: Request,
  options: AblationOptions = {},
): Promise<readonly AblationRow[]> {
  const { rounds, budget, onRow } = { ...DEFAULTS, ...options };
  let kernels = BASELINE;
  const rows = ADDITIONS.filter(([, { matrices }]) => !matrices || pipeline.hasMatrices).map(([name, added]) => ({
    name,
    kernels: kernels = { ...kernels, ...added },
    times: [] as Times[],
  }));
  for (let round = 1; round <= rounds; round++) {
    for (const { name, kernels, times } of rows) {
      onRow?.(name, round);
      await using other = pipeline.with(kernels);
      times.push(await timeStages(other, request, budget));
    }
  }
  return rows.map((row) => ({ ...row, times: summarise(row.times) }));
}
