/**
 * A GPU that fails on demand: the real device, with errors and a loss that a test decides.
 * @module
 */
import { Gpu } from "../../kernels/gpu.ts";

/** A GPU and what can happen to it. */
export interface FakeGpu {
  readonly gpu: Gpu;
  /** Reports an error that nobody waits for, as drivers do. */
  report(error: GPUError): void;
  /** Takes the device away. */
  lose(message: string): Promise<void>;
}

/** Opens a {@link Gpu} whose `allocation`-th buffer or texture, counted from 1, does not fit into memory. */
export async function openFakeGpu(allocation = Infinity): Promise<FakeGpu> {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const lost = Promise.withResolvers<GPUDeviceLostInfo>();
  let device: GPUDevice;
  let listener: (event: GPUUncapturedErrorEvent) => void;
  let allocations = 0;
  const report = (error: GPUError) => listener(new GPUUncapturedErrorEvent("uncapturederror", { error }));
  const counted = <T>(resource: T): T => {
    if (++allocations === allocation) report(new GPUOutOfMemoryError("Not enough memory left"));
    return resource;
  };
  const requestDevice = async (descriptor: GPUDeviceDescriptor) => {
    device = await adapter.requestDevice(descriptor);
    return override(device, {
      lost: lost.promise,
      addEventListener: (_type: string, report: typeof listener) => void (listener = report),
      createBuffer: (buffer: GPUBufferDescriptor) => counted(device.createBuffer(buffer)),
      createTexture: (texture: GPUTextureDescriptor) => counted(device.createTexture(texture)),
    });
  };
  const gpu = await withNavigatorGpu(override(adapter, { requestDevice }), () => Gpu.open({ webgpu: "deno" }));
  return {
    gpu,
    report,
    async lose(message) {
      device.destroy();
      // Deno's type knows one reason only.
      lost.resolve({ reason: "unknown", message } as unknown as GPUDeviceLostInfo);
      await lost.promise;
    },
  };
}

/** Runs `run` while `adapter` is the only one there is. */
export async function withNavigatorGpu<T>(adapter: GPUAdapter | null, run: () => Promise<T>): Promise<T> {
  const value = { requestAdapter: () => Promise.resolve(adapter) };
  Object.defineProperty(navigator, "gpu", { value, configurable: true });
  try {
    return await run();
  } finally {
    // Uncovers the getter of Navigator's prototype.
    Reflect.deleteProperty(navigator, "gpu");
  }
}

/** `object` with some of its members replaced. */
export function override<T extends object>(object: T, members: Readonly<Record<string, unknown>>): T {
  return new Proxy(object, {
    get(target, name) {
      if (Object.hasOwn(members, name)) return members[name as string];
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
