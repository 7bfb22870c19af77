/**
 * Kernels on a GPU: tensors in, tensors out. Knows shapes and WGSL, not diffusion.
 * @module
 */
import type { Family } from "./family.ts";
import type { Gpu } from "./gpu.ts";
import { bufferFamily } from "./buffer/mod.ts";
import { texturesPay } from "./probe.ts";
import { textureFamily } from "./texture/mod.ts";

/** The family of kernels that suits a GPU. */
export async function chooseFamily(gpu: Gpu): Promise<Family> {
  if (await texturesPay(gpu)) return textureFamily;
  const { features, limits } = gpu.device;
  return bufferFamily({
    subgroups: features.has("subgroups" as GPUFeatureName),
    threads: limits.maxComputeInvocationsPerWorkgroup,
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
  });
}

export type { AdapterInfo } from "./device.ts";
export { GpuFailedError, GpuMemoryError, NoGpuError } from "./errors.ts";
export { Gpu } from "./gpu.ts";
