/**
 * The step counter on the GPU: a recorded step is replayed without a write from the host.
 * @module
 */
import type { Launch } from "./backend.ts";
import { kernel } from "./kernel.ts";
import type { Memory } from "./tensor.ts";

/** Adds 1 to the `u32` in `step`. A launch of its own, because every lane of the launch before reads it. */
export function advance(step: Memory): Launch {
  return {
    kernel: kernel({
      name: "advance",
      ports: [{ kind: "buffer", name: "step", access: "read_write", element: "u32" }],
      sizes: { by: 1 },
      body: `
@compute @workgroup_size(1)
fn main() { step[0] = step[0] + u32(size.by); }`,
      workgroups: [1, 1, 1],
    }),
    memory: [step],
  };
}
