/**
 * Timing launches outside of any recording.
 * @module
 */
import type { Timer } from "./candidates.ts";
import type { Gpu } from "./gpu.ts";
import { Program } from "./program.ts";
import type { Memory } from "./tensor.ts";

/**
 * Times launches on a GPU, in memory of their own: what they would read and write stays as it is. What the GPU refuses
 * meanwhile, memory above all, fails the timing and nothing else.
 */
export function timerOf(gpu: Gpu): Timer {
  return (launches, passes) =>
    gpu.attempt(async () => {
      // Before any of it is allocated.
      for (const { layout, label } of launches.flatMap(({ memory }) => memory)) gpu.measure(layout, label);
      const own = new Map<Memory, Memory>();
      const ownOf = (memory: Memory): Memory => {
        if (!own.has(memory)) own.set(memory, { ...memory, kept: false });
        return own.get(memory)!;
      };
      const program = new Program(gpu, launches.map(({ kernel, memory }) => ({ kernel, memory: memory.map(ownOf) })));
      try {
        return Math.min(...await program.time(passes));
      } finally {
        program.dispose();
      }
    });
}
