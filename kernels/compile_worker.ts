/**
 * A thread of {@link fillShaderCache}: compiles shaders on a device of its own.
 * @module
 */
/// <reference lib="deno.worker" />
import { openDevice } from "./device.ts";

self.onmessage = async ({ data: texts }: MessageEvent<readonly string[]>) => {
  // What goes wrong here goes wrong again where it is reported.
  self.postMessage(await compile(texts).catch(() => 0));
};

async function compile(texts: readonly string[]): Promise<number> {
  const { device } = await openDevice({ webgpu: "deno" });
  for (const code of texts) {
    const module = device.createShaderModule({ code });
    device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  }
  device.destroy();
  return texts.length;
}
