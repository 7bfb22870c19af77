/**
 * Opening a WebGPU device: which adapter, which limits and features, what to say when there is none.
 * @module
 */
import { NoGpuError } from "./errors.ts";

/** What is known of the adapter. */
export interface AdapterInfo {
  /** The adapter's own name, such as `NVIDIA H100`. */
  readonly description: string;
  /** The vendor's name or PCI number. */
  readonly vendor: string;
  /** The vendor's name of the chip family; often empty. */
  readonly architecture: string;
  /** Whether it runs on the CPU. */
  readonly software: boolean;
}

const INSTALL = "No usable GPU was found: Deno's WebGPU needs a Vulkan, Metal or Direct3D 12 driver. " +
  "Install one: Debian and Ubuntu `apt-get install mesa-vulkan-drivers libvulkan1`, " +
  "Fedora `dnf install mesa-vulkan-drivers vulkan-loader`, " +
  "macOS needs nothing but macOS 11 or later on a Mac with Metal, " +
  "Windows the graphics driver of the card's maker";

/** Limits that kernels use beyond WebGPU's defaults; each is asked for at the adapter's own value. */
export const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxStorageTexturesPerShaderStage",
  "maxTextureDimension2D",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

/** Features that kernels can use where they exist. `subgroups` is not listed by Deno 2.9, yet can be requested. */
export const FEATURES = ["shader-f16", "timestamp-query", "subgroups"] as const;

/** What to ask an adapter for; by default all that it has. */
export interface DeviceOptions {
  /** Features that may be used where the adapter has them; default {@link FEATURES}. */
  readonly features?: readonly (typeof FEATURES)[number][];
  /** Limits to ask for, by name; what is not named stays at WebGPU's default. By default the adapter's {@link LIMITS}. */
  readonly limits?: Readonly<Record<string, number>>;
}

/**
 * Opens the fastest adapter.
 *
 * @throws {NoGpuError} when there is no adapter or it refuses a device.
 */
export async function openDevice(options: DeviceOptions = {}): Promise<{ device: GPUDevice; adapter: AdapterInfo }> {
  if (Deno.build.os === "linux") prepareLinux();
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }) ?? null;
  if (adapter === null) throw new NoGpuError(INSTALL);
  const { features = FEATURES, limits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])) } =
    options;
  const listed = features.filter((name) => adapter.features.has(name));
  const hoped = features.filter((name) => name === "subgroups" || listed.includes(name));
  const device = await requestDevice(adapter, hoped, limits)
    .catch(() => requestDevice(adapter, listed, limits))
    .catch((cause) => {
      throw new NoGpuError(`The GPU ${adapter.info.description} refused a device`, { cause });
    });
  const { description, vendor, architecture, isFallbackAdapter } = adapter.info;
  return { device, adapter: { description, vendor, architecture, software: isFallbackAdapter } };
}

function requestDevice(
  adapter: GPUAdapter,
  features: readonly string[],
  requiredLimits: Record<string, number>,
): Promise<GPUDevice> {
  return adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[], requiredLimits });
}

/**
 * Without a Vulkan driver wgpu would offer OpenGL, which cannot run these kernels; and without `XDG_RUNTIME_DIR`
 * libwayland, which some drivers load, complains on stderr in every run. Neither overrules the user.
 */
function prepareLinux(): void {
  for (const [name, value] of [["DENO_WEBGPU_BACKEND", "vulkan"], ["XDG_RUNTIME_DIR", "/tmp"]] as const) {
    if (Deno.env.get(name) === undefined) Deno.env.set(name, value);
  }
}
