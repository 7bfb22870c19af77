/**
 * Drivers keep what they compiled on disk, and what one device compiled serves every other, in any process. Deno 2.9 makes
 * pipelines within the call, even where they are asked for asynchronously, and Dawn those of one device one after the
 * other: the first ones that a machine ever makes are compiled side by side all the same, by other devices that leave
 * them in that cache.
 * @module
 */
import { type DeviceOptions, type OpenDevice, openDevice } from "./device.ts";

/** Of 57 pipelines on an H200, 8.3 s long on one thread, twelve threads compile no faster than four: one is the longest. */
const MOST_THREADS = 4;

/** Of Dawn. 70 pipelines on an H200, 9.9 s on one device: 4.6 s on four, 3.5 on six, 3.2 on eight; one is opened in 80 ms. */
const MOST_DEVICES = 6;

const WORKER = new URL("./compile_worker.ts", import.meta.url);

/**
 * Compiles shaders on other threads. What fails there is left to whoever makes the pipeline; returns how many shaders the
 * threads went through: none where this program may not start them.
 */
export async function fillShaderCache(texts: readonly string[]): Promise<number> {
  // Otherwise Deno would ask the user.
  const isAllowed = WORKER.protocol !== "file:" ||
    (await Deno.permissions.query({ name: "read", path: WORKER })).state === "granted";
  if (!isAllowed) return 0;
  const threads = Math.min(MOST_THREADS, texts.length, navigator.hardwareConcurrency);
  const shares = Array.from({ length: threads }, (_, thread) => texts.filter((_, i) => i % threads === thread));
  const done = await Promise.all(shares.map(compileAside));
  return done.reduce((sum, count) => sum + count, 0);
}

async function compileAside(texts: readonly string[]): Promise<number> {
  const worker = new Worker(WORKER, { type: "module" });
  const { promise, resolve } = Promise.withResolvers<number>();
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = (event) => {
    event.preventDefault();
    resolve(0);
  };
  worker.postMessage(texts);
  try {
    return await promise;
  } finally {
    worker.terminate();
  }
}

/**
 * The same for Dawn, which compiles on threads of its own: on other devices, which `options` open. What fails there is left
 * to whoever makes the pipeline; returns how many shaders were compiled.
 */
export async function fillFromDevices(texts: readonly string[], options: DeviceOptions): Promise<number> {
  const count = Math.min(MOST_DEVICES, texts.length, navigator.hardwareConcurrency);
  const opened: OpenDevice[] = [];
  try {
    while (opened.length < count) opened.push(await openDevice(options));
    // The longest are compiled for the longest time.
    const sorted = texts.toSorted((a, b) => b.length - a.length);
    const made = await Promise.allSettled(sorted.map((text, i) => compileOn(opened[i % count]!, text)));
    return made.filter(({ status }) => status === "fulfilled").length;
  } catch {
    return 0;
  } finally {
    for (const { device } of opened) device.destroy();
  }
}

async function compileOn({ device, dialect }: OpenDevice, text: string): Promise<void> {
  // Every error is an answer as well.
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code: dialect(text) });
  const refused = device.popErrorScope();
  await device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
  await refused;
}
