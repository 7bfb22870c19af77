/**
 * The paper's optimizations as an option of a {@link Pipeline}, without loading one.
 * @module
 */
export { AUTO, BASELINE, type Optimizations, PAPER, readOptimizations } from "../kernels/optimizations.ts";
