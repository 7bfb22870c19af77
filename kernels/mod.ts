/**
 * Kernels on a GPU: tensors in, tensors out. Knows shapes and WGSL only.
 * @module
 */
import type { Backend } from "./backend.ts";
import type { Gpu } from "./gpu.ts";
import { bufferBackend } from "./buffer/mod.ts";
import { probeTextures } from "./probe.ts";
import type { Selection } from "./selection.ts";
import { textureBackend } from "./texture/mod.ts";

export interface Backends {
  /** All arithmetic in float32. */
  readonly exact: Backend;
  /**
   * Float16 activations and arithmetic where the GPU has them and their error is small against that of float16 weights.
   * Layers packed for one of the two serve the other.
   */
  readonly half: Backend;
  /** What decided between textures and buffers, in words. */
  readonly why: string;
}

/** The kernels that suit a GPU; `selection` remembers what was measured for that. */
export async function chooseBackends(gpu: Gpu, selection?: Selection): Promise<Backends> {
  const { textures, why } = await probeTextures(gpu, selection);
  return { ...textures ? { exact: textureBackend, half: textureBackend } : bufferBackends(gpu), why };
}

/** The kernels that read buffers, as far as the device's features and limits allow them. */
export function bufferBackends(gpu: Gpu): Pick<Backends, "exact" | "half"> {
  const { device: { features, limits }, matrices: [shape], subgroupSize: lanes } = gpu;
  const capabilities = {
    subgroups: features.has("subgroups" as GPUFeatureName),
    threads: limits.maxComputeInvocationsPerWorkgroup,
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
  };
  const half = features.has("shader-f16");
  const exact = bufferBackend({ ...capabilities, float16: half ? "storage" : "pairs" });
  // Matrices are of float16, which exact activations are not.
  const matrices = shape && lanes ? { shape, lanes } : undefined;
  return { exact, half: half ? bufferBackend({ ...capabilities, float16: "arithmetic", matrices }) : exact };
}

export type { AdapterInfo, DeviceOptions, FeatureName, MatrixShape, ProviderName } from "./device.ts";
export { GpuFailedError, GpuMemoryError, NoGpuError } from "./errors.ts";
export { Gpu } from "./gpu.ts";
export { Ops } from "./ops.ts";
export { Program } from "./program.ts";
export { bytesOf, firstSample, type Memory, type Tensor } from "./tensor.ts";
