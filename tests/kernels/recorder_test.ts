import { assertEquals } from "@std/assert";
import { GpuMemoryError } from "../../kernels/errors.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { kernel } from "../../kernels/kernel.ts";
import { Recorder } from "../../kernels/recorder.ts";
import { type Candidates, Selection } from "../../kernels/selection.ts";
import { BACKENDS } from "./harness.ts";

const OPERATION = { operation: "sum 4", elements: "f32", flops: 4, bytes: 16 };
const FAST = kernel({ name: "fast", ports: [], sizes: {}, body: "", workgroups: [1, 1, 1] });
const ADAPTER = { description: "Radeon", vendor: "4098", architecture: "", software: false, webgpu: "Deno 2.9.6" };

/** Keeps what it would have timed. */
class FakeSelection extends Selection {
  readonly found: Candidates[] = [];

  override measure(found: readonly Candidates[]): Promise<void> {
    this.found.push(...found);
    return Promise.resolve();
  }
}

/** Has an operation with two ways, one of which refuses the shape. */
class Sums extends Recorder {
  sum(): void {
    this.perform(OPERATION, [
      { kernels: "fast", launches: () => [{ kernel: FAST, memory: [] }] },
      {
        kernels: "narrow",
        launches() {
          throw new GpuMemoryError("too wide");
        },
      },
    ]);
  }
}

Deno.test("a survey notes every way to perform an operation and builds only the first", async () => {
  const selection = new FakeSelection(ADAPTER);
  const sums = new Sums({} as Gpu, BACKENDS[0]!, { selection });
  await sums.tune(() => {
    sums.sum();
    sums.sum();
  });
  const noted = selection.found.map(({ ways, ...rest }) => [rest, ways.map(({ kernels }) => kernels)]);
  const want = [{ ...OPERATION, key: "texture f32 sum 4" }, ["fast", "narrow"]];
  assertEquals(noted, [want, want]);
});

Deno.test("where nothing is timed, nothing is recorded", async () => {
  const selection = new FakeSelection({ ...ADAPTER, description: "llvmpipe" });
  const sums = new Sums({} as Gpu, BACKENDS[0]!, { selection });
  await sums.tune(() => {
    throw new Error("recorded");
  });
  assertEquals(selection.found, []);
});
