import { assert, assertEquals } from "@std/assert";
import { Gpu } from "../../kernels/gpu.ts";
import { judge, probeTextures } from "../../kernels/probe.ts";
import { type KernelTimes, Selection, type TimingStore } from "../../kernels/selection.ts";

/** A store that holds one adapter's times. */
function openStore(times: ReadonlyMap<string, KernelTimes> = new Map()): TimingStore & { kept: typeof times } {
  return {
    kept: times,
    read() {
      return this.kept;
    },
    write(_, times) {
      this.kept = new Map(times);
    },
  };
}

Deno.test("a GPU's textures must be clearly faster, a CPU's only faster", () => {
  const cases: readonly (readonly [texture: number, buffer: number, gpu: boolean, software: boolean])[] = [
    [1, 6, true, true],
    [1, 2.5, true, true],
    [1, 1.9, false, true],
    [1, 1.1, false, true],
    [1, 0.9, false, false],
  ];
  for (const [texture, buffer, gpu, software] of cases) {
    assertEquals(judge({ texture, buffer }, false).textures, gpu, `${texture} to ${buffer} on a GPU`);
    assertEquals(judge({ texture, buffer }, true).textures, software, `${texture} to ${buffer} on a CPU`);
  }
  assertEquals(judge({ texture: null, buffer: 9 }, true).textures, false);
});

Deno.test("a measurement that one disturbance could turn is close", () => {
  const close = (buffer: number, software: boolean) => judge({ texture: 1, buffer }, software).close;
  // Mesa 26's llvmpipe is at 2.5, far from what decides on a CPU.
  assertEquals([0.5, 0.8, 1.2, 2.5].map((buffer) => close(buffer, true)), [false, true, true, false]);
  assertEquals([1, 1.6, 2.5, 3.5].map((buffer) => close(buffer, false)), [false, true, true, false]);
});

Deno.test("what was measured once decides from then on, unless all is timed again", async () => {
  await using gpu = await Gpu.open();
  const { adapter } = gpu;
  const store = openStore();
  const first = await probeTextures(gpu, new Selection(adapter, { store }));
  if (first.why.startsWith("textures need")) return;
  const [[key] = [], ...others] = [...store.kept];
  assertEquals(others, []);
  assertEquals(await probeTextures(gpu, new Selection(adapter, { store })), first);

  const turned = openStore(new Map([[key!, { texture: first.textures ? 9 : 1, buffer: first.textures ? 1 : 9 }]]));
  assertEquals((await probeTextures(gpu, new Selection(adapter, { store: turned }))).textures, !first.textures);
  const again = await probeTextures(gpu, new Selection(adapter, { store: turned, tune: true }));
  assertEquals(again.textures, first.textures);
  assert(again.textures === judge(turned.kept.get(key!) as Parameters<typeof judge>[0], adapter.software).textures);
});
