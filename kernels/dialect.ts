/**
 * What compilers of WGSL want to hear before a text: kernels are written once, without it.
 * @module
 */

/** Completes a kernel's text for a compiler. */
export type Dialect = (wgsl: string) => string;

/** Deno's own compiler knows the functions of subgroups, but not the words that enable them. It has no matrices. */
export const NAGA: Dialect = (wgsl) => wgsl;

/** Dawn's compiler. Matrices are those of the draft of gpuweb's `subgroup-matrix` of 2026-10-02, still under its own name. */
export const TINT: Dialect = (wgsl) => {
  const matrices = wgsl.includes("subgroup_matrix");
  return [
    // Offsets of matrices follow from the subgroup's number, which its analysis takes for different in each lane.
    ...(matrices ? ["diagnostic(off, chromium.subgroup_matrix_uniformity);"] : []),
    ...(matrices || /\bsubgroup[A-Z]|subgroup_id/.test(wgsl) ? ["enable subgroups;"] : []),
    ...(matrices ? ["enable chromium_experimental_subgroup_matrix;"] : []),
    wgsl,
  ].join("\n");
};
