/**
 * Kernels on a GPU: tensors in, tensors out. Knows shapes and WGSL, not diffusion.
 * @module
 */
import type { Family } from "./family.ts";
import type { Gpu } from "./gpu.ts";
import { bufferFamily } from "./buffer/mod.ts";
import { probeTextures } from "./probe.ts";
import { textureFamily } from "./texture/mod.ts";

/** The kernels that suit a GPU. */
export interface Families {
  /** All arithmetic in float32. */
  readonly exact: Family;
  /**
   * Float16 activations and arithmetic where the GPU has them and their error is small against that of float16 weights.
   * Layers packed for one of the two serve the other.
   */
  readonly half: Family;
  /** What decided between textures and buffers, in words. */
  readonly why: string;
}

/** Probes which family of kernels suits a GPU. */
export async function chooseFamilies(gpu: Gpu): Promise<Families> {
  const { textures, why } = await probeTextures(gpu);
  if (textures) return { exact: textureFamily, half: textureFamily, why };
  const { features, limits } = gpu.device;
  const capabilities = {
    subgroups: features.has("subgroups" as GPUFeatureName),
    threads: limits.maxComputeInvocationsPerWorkgroup,
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
  };
  const half = features.has("shader-f16");
  const exact = bufferFamily({ ...capabilities, float16: half ? "storage" : "pairs" });
  return { exact, half: half ? bufferFamily({ ...capabilities, float16: "arithmetic" }) : exact, why };
}

export type { AdapterInfo } from "./device.ts";
export { GpuFailedError, GpuMemoryError, NoGpuError } from "./errors.ts";
export type * from "./family.ts";
export { Gpu, type Resource } from "./gpu.ts";
export type * from "./kernel.ts";
export type { PassTime, Program } from "./program.ts";
export type * from "./scratch.ts";
export type * from "./tensor.ts";
