/**
 * The providers of WebGPU, without loading a {@link Pipeline}.
 * @module
 */
export { DAWN_VERSION } from "../kernels/dawn.ts";
export type { DeviceOptions, ProviderName } from "../kernels/device.ts";
export { NoGpuError } from "../kernels/errors.ts";
