/**
 * Opening a WebGPU device: which adapter, which limits and features, what to say when there is none.
 * @module
 */
import { DAWN_VERSION, hold, openDawn } from "./dawn.ts";
import { NoGpuError } from "./errors.ts";
import { type Dialect, NAGA, TINT } from "./dialect.ts";

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
  /** Which WebGPU runs it, with its version, such as `Dawn 0.6.2`. */
  readonly webgpu: string;
}

/** A product of matrices that a subgroup computes at once: `[m, k]` times `[k, n]`. */
export interface MatrixShape {
  /** Rows of the first and of the product. */
  readonly m: number;
  /** Columns of the second and of the product. */
  readonly n: number;
  /** Columns of the first and rows of the second. */
  readonly k: number;
}

/** The implementations of WebGPU that there are: Deno's own, and Dawn. */
export type ProviderName = "deno" | "dawn";

const MATRICES = "chromium-experimental-subgroup-matrix";

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

/** A feature of WebGPU, or one that it will have. */
export type FeatureName =
  | "shader-f16"
  | "timestamp-query"
  | "subgroups"
  | "chromium-experimental-subgroup-matrix";

/** Features that kernels can use where they exist. `subgroups` is not listed by Deno 2.9, yet can be requested. */
export const FEATURES: readonly FeatureName[] = ["shader-f16", "timestamp-query", "subgroups", MATRICES];

/** What to ask an adapter for; by default all that it has. */
export interface DeviceOptions {
  /** Features that may be used where the adapter has them; default all of them. */
  readonly features?: readonly FeatureName[];
  /** Limits to ask for, by name; what is not named stays at WebGPU's default. By default the adapter's. */
  readonly limits?: Readonly<Record<string, number>>;
  /** Which WebGPU opens it; default what `DENOISE_WEBGPU` names, or `deno`. */
  readonly webgpu?: ProviderName;
  /** The folder with Dawn's package, which holds `node_modules/webgpu`; default `DENOISE_DAWN`. */
  readonly dawn?: string;
  /** Flags for Dawn beside those it always gets, such as `backend=null`, which computes nothing. */
  readonly flags?: readonly string[];
}

/** An open device, and how the WebGPU that it is of differs from others. */
export interface OpenDevice {
  readonly device: GPUDevice;
  readonly adapter: AdapterInfo;
  /** What a subgroup multiplies at once: float16 matrices summed in float32, the largest first; often none. */
  readonly matrices: readonly MatrixShape[];
  /** Lanes of every subgroup; undefined where they differ. */
  readonly subgroupSize: number | undefined;
  readonly dialect: Dialect;
  /** Deno's own WebGPU waits for the GPU inside a call, not in its promise, and checks the indices of kernels. */
  readonly provider: ProviderName;
}

/**
 * Opens the fastest adapter.
 *
 * @throws {NoGpuError} when there is no such WebGPU, no adapter, or it refuses a device.
 */
export async function openDevice(options: DeviceOptions = {}): Promise<OpenDevice> {
  if (Deno.build.os === "linux") prepareLinux();
  const provider = await openProvider(options);
  const adapter = await provider.gpu?.requestAdapter({ powerPreference: "high-performance" }) ?? null;
  if (adapter === null) throw new NoGpuError(provider.none);
  const { features = FEATURES, limits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])) } =
    options;
  const listed = features.filter((name) => adapter.features.has(name as GPUFeatureName));
  const hoped = features.filter((name) => name === "subgroups" || listed.includes(name));
  const device = await requestDevice(adapter, hoped, limits)
    .catch(() => requestDevice(adapter, listed, limits))
    .catch((cause) => {
      throw new NoGpuError(`The GPU ${adapter.info.description} refused a device`, { cause });
    });
  if (provider.name === "dawn") [adapter, device].forEach(hold);
  const { vendor, architecture, isFallbackAdapter: software } = adapter.info;
  const matrices = device.features.has(MATRICES as GPUFeatureName) ? matricesOf(adapter.info) : [];
  const { subgroupMinSize: least, subgroupMaxSize: most } = adapter.info as SubgroupSizes;
  const { dialect, webgpu, name } = provider;
  return {
    device,
    adapter: { description: describe(adapter.info), vendor, architecture, software, webgpu },
    matrices,
    subgroupSize: least === most ? most : undefined,
    dialect,
    provider: name,
  };
}

interface Provider {
  readonly name: ProviderName;
  readonly webgpu: string;
  readonly gpu: GPU | undefined;
  readonly dialect: Dialect;
  /** What to say when it has no adapter. */
  readonly none: string;
}

async function openProvider(options: DeviceOptions): Promise<Provider> {
  const webgpu: string = options.webgpu ?? (Deno.env.get("DENOISE_WEBGPU") || "deno");
  if (webgpu === "deno") {
    return { name: webgpu, webgpu: `Deno ${Deno.version.deno}`, gpu: navigator.gpu, dialect: NAGA, none: INSTALL };
  }
  if (webgpu !== "dawn") {
    throw new NoGpuError(`DENOISE_WEBGPU names no WebGPU: it can be deno or dawn`);
  }
  const folder = options.dawn ?? Deno.env.get("DENOISE_DAWN");
  if (!folder) throw new NoGpuError("Dawn is not there: DENOISE_DAWN names no folder with its package");
  return {
    name: webgpu,
    webgpu: `Dawn ${DAWN_VERSION}`,
    gpu: await openDawn(folder, options.flags),
    dialect: TINT,
    none:
      "Dawn found no usable GPU: it needs a Vulkan, Metal or Direct3D 12 driver that is newer than Deno's own WebGPU " +
      "does (Mesa 25 or later); without `--webgpu dawn` the program uses Deno's own",
  };
}

/** Deno's own WebGPU describes the GPU; Dawn describes the driver, and names the GPU beside it. */
function describe({ device, description }: GPUAdapterInfo): string {
  return device && !/^\d*$/.test(device) ? `${device} (${description})` : description;
}

/** What of an adapter's configurations multiplies float16 and sums float32. */
function matricesOf(info: GPUAdapterInfo): readonly MatrixShape[] {
  const { subgroupMatrixConfigs: configs = [] } = info as { readonly subgroupMatrixConfigs?: readonly MatrixConfig[] };
  return Array.from(configs)
    .filter(({ componentType, resultComponentType }) => componentType === "f16" && resultComponentType === "f32")
    .map(({ M: m, N: n, K: k }) => ({ m, n, k }))
    .sort((a, b) => b.m * b.n * b.k - a.m * a.n * a.k);
}

interface SubgroupSizes {
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
}

interface MatrixConfig {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly componentType: string;
  readonly resultComponentType: string;
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
