/**
 * Kernels on a GPU: tensors in, tensors out. Knows shapes and WGSL, not diffusion.
 * @module
 */
import type { Family } from "./family.ts";
import type { Gpu } from "./gpu.ts";
import { textureFamily } from "./texture/mod.ts";

/** The family of kernels that suits a GPU. */
export function chooseFamily(_gpu: Gpu): Promise<Family> {
  return Promise.resolve(textureFamily);
}

export type { AdapterInfo } from "./device.ts";
export { GpuFailedError, GpuMemoryError, NoGpuError } from "./errors.ts";
export { Gpu } from "./gpu.ts";
