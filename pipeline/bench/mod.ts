/**
 * Measurements of a pipeline on this machine.
 * @module
 */
export { type Ceilings, measureCeilings } from "../../kernels/ceilings.ts";
export { type KernelRate, measureRates } from "../../kernels/rates.ts";
export { type AblationOptions, type AblationRow, measureAblation } from "./ablation.ts";
export { type Choice, type KernelTime, measureChoices } from "./choices.ts";
export { measureOperations, type OperationTime, type StageOperations } from "./operations.ts";
export { measureStages, type Spread, type StageTimes } from "./stages.ts";
