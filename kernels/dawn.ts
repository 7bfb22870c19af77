/**
 * Dawn, the WebGPU of Chromium, as a provider beside Deno's own: `npm:webgpu`, a native module of 22 MB for each
 * platform. It has matrices on tensor cores, which Deno's own has not. Nobody who does not ask for it downloads it: its
 * package stands in no configuration of this program, but in a folder of its own.
 * @module
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { NoGpuError } from "./errors.ts";

/** The version of `npm:webgpu` that is used. */
export const DAWN_VERSION = "0.6.2";

/**
 * What Dawn is told: features that are still experimental may be asked for, float16 is offered on NVIDIA's GPUs, too,
 * and the GPU checks no index again (110 instead of 164 TFLOP/s, H200): kernels check those that need it themselves.
 */
const FLAGS = [
  "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,disable_robustness",
  "disable-dawn-features=timestamp_quantization",
];

/** What `npm:webgpu` exports. */
interface Dawn {
  create(flags: readonly string[]): GPU;
}

/**
 * All that Dawn made and that must live as long as the process: without its instance each of 8 runs died in the next
 * garbage collection. On the global object, since V8 drops a module's constant that nothing reads any more.
 */
const HELD = Symbol.for("denoise.dawn");
const held: object[] = (globalThis as { [HELD]?: object[] })[HELD] ??= [];

/**
 * Dawn's entry point, from the package in `folder`.
 *
 * @param folder holds `node_modules/webgpu`, as `npm install webgpu@VERSION` leaves it
 * @param flags for Dawn beside those it always gets, such as `backend=null`
 * @throws {NoGpuError} when it is not there or cannot be loaded.
 */
export async function openDawn(folder: string, flags: readonly string[] = []): Promise<GPU> {
  const path = join(folder, "node_modules", "webgpu", "index.js");
  pollSlowly();
  try {
    const { create }: Dawn = await import(pathToFileURL(path).href);
    const gpu = create([...FLAGS, ...flags]);
    hold(gpu);
    return gpu;
  } catch (cause) {
    throw new NoGpuError(`Dawn ${DAWN_VERSION} cannot be loaded from ${folder}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Keeps something of Dawn's until the process ends. */
export function hold(thing: object): void {
  held.push(thing);
}

/**
 * While anything is awaited, Dawn's module polls through `setImmediate` and makes a native function for each turn,
 * 100,000 a second; when V8 collects them, Deno finalises them for 2 to 9 s. A millisecond between turns is enough.
 */
function pollSlowly(): void {
  globalThis.setImmediate = ((turn: () => void) => setTimeout(turn, 1)) as unknown as typeof setImmediate;
}
