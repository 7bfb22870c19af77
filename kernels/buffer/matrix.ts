/**
 * Matrices of a subgroup in WGSL, in the words of the draft of gpuweb's `subgroup-matrix`. When Deno's own WebGPU lets
 * wgpu's `coop_mat` be enabled, its words go here, too.
 * @module
 */
import type { MatrixShape } from "../device.ts";

/** What an adapter multiplies matrices with. */
export interface MatrixUnit {
  readonly shape: MatrixShape;
  /** Lanes of a subgroup. */
  readonly lanes: number;
}

/** WGSL of `alias Left`, `Right` and `Sum`: `[m, k]` and `[k, n]` of float16, and `[m, n]` of float32. */
export function matrixTypes({ m, n, k }: MatrixShape): string {
  return `alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;
alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;
alias Sum = subgroup_matrix_result<f32, ${n}, ${m}>;`;
}

/** How a matrix lies in memory: along its rows or along its columns. */
export type Order = "row_major" | "col_major";

/** WGSL of a matrix from an array in workgroup or storage memory; `offset` and `stride` count the array's elements. */
export function loadMatrix(
  type: "Left" | "Right" | "Sum",
  from: string,
  at: { offset: string; stride: string | number; order: Order },
): string {
  return `subgroupMatrixLoad<${type}, ${at.order}>(&${from}, u32(${at.offset}), u32(${at.stride}))`;
}

/** WGSL statement that stores a `Sum`. */
export function storeMatrix(
  to: string,
  sum: string,
  at: { offset: string; stride: string | number; order: Order },
): string {
  return `subgroupMatrixStore<${at.order}>(&${to}, u32(${at.offset}), ${sum}, u32(${at.stride}));`;
}

/** WGSL of `sum` with the product of `left` and `right` added. */
export function multiplyAdd(left: string, right: string, sum: string): string {
  return `subgroupMatrixMultiplyAccumulate(${left}, ${right}, ${sum})`;
}
