import { assert, assertEquals } from "@std/assert";
import type { Launch } from "../../kernels/family.ts";
import { bytesOf, type Resource } from "../../kernels/gpu.ts";
import { kernel } from "../../kernels/kernel.ts";
import { planMemory } from "../../kernels/program.ts";
import type { Layout, Memory } from "../../kernels/tensor.ts";
import { textureLayout } from "../../kernels/texture/layout.ts";
import { uniform } from "./harness.ts";

const KERNEL = kernel({ name: "any", ports: [], sizes: { one: 1 }, body: "", workgroups: [1, 1, 1] });

/** Hands out resources without a GPU and notes what for. */
function createAllocator(): { readonly allocated: Map<Resource, Layout>; allocate(layout: Layout): Resource } {
  const allocated = new Map<Resource, Layout>();
  return {
    allocated,
    allocate(layout) {
      const resource = { bytes: bytesOf(layout), buffer: {} as GPUBuffer };
      allocated.set(resource, layout);
      return resource;
    },
  };
}

function buffer(elements: number, kept = false): Memory {
  return { layout: { kind: "buffer", element: "f32", stride: elements, bytes: 4 * elements }, label: "x", kept };
}

function texture(rows: number, columns: number): Memory {
  return { layout: textureLayout(rows, columns), label: "x", kept: false };
}

/** A random program: each launch writes a new memory from up to three older ones, some of them long past. */
function randomLaunches(seed: number): readonly Launch[] {
  const next = uniform(seed);
  const below = (count: number) => Math.floor((next() + 1) / 2 * count) % count;
  const written: Memory[] = [buffer(4, true)];
  return Array.from({ length: 60 }, () => {
    const read = Array.from({ length: 1 + below(3) }, () => written[Math.max(0, written.length - 1 - below(8))]!);
    const out = [
      () => buffer(4 * (1 + below(40))),
      () => texture(4 * (1 + below(2)), 1 + below(3)),
      () => buffer(8, true),
    ][below(3)]!();
    written.push(out);
    return { kernel: KERNEL, memory: [...read, out] };
  });
}

/** The first and the last launch that use each memory. */
function livesOf(launches: readonly Launch[]): ReadonlyMap<Memory, readonly [first: number, last: number]> {
  const lives = new Map<Memory, readonly [number, number]>();
  launches.forEach(({ memory }, i) => memory.forEach((m) => lives.set(m, [lives.get(m)?.[0] ?? i, i])));
  return lives;
}

Deno.test("no two live memories share a home, and every home is large enough", () => {
  let shared = 0;
  for (let seed = 0; seed < 200; seed++) {
    const launches = randomLaunches(seed);
    const { allocated, allocate } = createAllocator();
    const homes = planMemory({ allocate }, launches);
    const lives = [...livesOf(launches)].filter(([memory]) => !memory.kept);
    assertEquals(new Set(homes.keys()), new Set(lives.map(([memory]) => memory)));
    shared += lives.length - allocated.size;
    for (const [i, [memory, [first, last]]] of lives.entries()) {
      const { resource } = homes.get(memory)!;
      const made = allocated.get(resource)!;
      assertEquals(made.kind, memory.layout.kind);
      if (made.kind === "texture") assertEquals(made, memory.layout);
      else assert(bytesOf(made) >= bytesOf(memory.layout), `seed ${seed}: a home of ${bytesOf(made)} bytes`);
      for (const [other, [otherFirst, otherLast]] of lives.slice(i + 1)) {
        if (homes.get(other)!.resource !== resource) continue;
        assert(last < otherFirst || otherLast < first, `seed ${seed}: one home for ${first}-${last} and ${otherFirst}`);
      }
    }
  }
  assert(shared > 200 * 10, `only ${shared} memories moved into a used home`);
});

Deno.test("a chain of equal memories needs two homes", () => {
  const chain = Array.from({ length: 10 }, () => texture(8, 8));
  const launches = chain.slice(1).map((out, i) => ({ kernel: KERNEL, memory: [chain[i]!, out] }));
  const { allocated, allocate } = createAllocator();
  planMemory({ allocate }, launches);
  assertEquals(allocated.size, 2);
});

Deno.test("a home is not wasted on what needs less than half of it", () => {
  const [large, half, small] = [buffer(400), buffer(200), buffer(96)];
  const launches = [large, half, small].map((memory) => ({ kernel: KERNEL, memory: [memory] }));
  const { allocated, allocate } = createAllocator();
  const homes = planMemory({ allocate }, launches);
  assertEquals(homes.get(half), homes.get(large));
  // Although it is half of what the home held last.
  assert(homes.get(small) !== homes.get(large));
  assertEquals([...allocated.keys()].map(({ bytes }) => bytes), [1600, 384]);
});
