import { assert, assertEquals } from "@std/assert";
import type { Launch } from "../../kernels/launch.ts";
import type { Resource } from "../../kernels/gpu.ts";
import { kernel } from "../../kernels/kernel.ts";
import { type Allocator, Scratch } from "../../kernels/scratch.ts";
import { bytesOf, type Layout, type Memory } from "../../kernels/tensor.ts";
import { textureLayout } from "../../kernels/texture/layout.ts";
import { uniform } from "./harness.ts";

const KERNEL = kernel({ name: "any", ports: [], sizes: { one: 1 }, body: "", workgroups: [1, 1, 1] });

/** Hands out resources without a GPU and notes what for. */
function createAllocator(): Allocator<Resource> & { readonly held: Map<Resource, Layout> } {
  const held = new Map<Resource, Layout>();
  return {
    held,
    allocate(layout) {
      const resource = { bytes: bytesOf(layout), buffer: {} as GPUBuffer };
      held.set(resource, layout);
      return resource;
    },
    release: (resource) => void held.delete(resource),
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

Deno.test("no two live memories share a place, and every place is large enough", () => {
  let shared = 0;
  for (let seed = 0; seed < 200; seed++) {
    const launches = randomLaunches(seed);
    const allocator = createAllocator();
    const places = new Scratch(allocator).take(launches);
    const lives = [...livesOf(launches)].filter(([memory]) => !memory.kept);
    assertEquals(new Set(places.keys()), new Set(lives.map(([memory]) => memory)));
    shared += lives.length - allocator.held.size;
    for (const [i, [memory, [first, last]]] of lives.entries()) {
      const resource = places.get(memory)!;
      const made = allocator.held.get(resource)!;
      assertEquals(made.kind, memory.layout.kind);
      if (made.kind === "texture" && memory.layout.kind === "texture") {
        const { format, width, height } = memory.layout;
        const size = `seed ${seed}: a place of ${made.width}x${made.height} texels`;
        assert(made.format === format && made.width >= width && made.height >= height, size);
      } else assert(bytesOf(made) >= bytesOf(memory.layout), `seed ${seed}: a place of ${bytesOf(made)} bytes`);
      for (const [other, [otherFirst, otherLast]] of lives.slice(i + 1)) {
        if (places.get(other)! !== resource) continue;
        assert(
          last < otherFirst || otherLast < first,
          `seed ${seed}: one place for ${first}-${last} and ${otherFirst}`,
        );
      }
    }
  }
  assert(shared > 200 * 10, `only ${shared} memories moved into a used place`);
});

Deno.test("a chain of equal memories needs two places", () => {
  const chain = Array.from({ length: 10 }, () => texture(8, 8));
  const launches = chain.slice(1).map((out, i) => ({ kernel: KERNEL, memory: [chain[i]!, out] }));
  const allocator = createAllocator();
  new Scratch(allocator).take(launches);
  assertEquals(allocator.held.size, 2);
});

Deno.test("the largest memory decides, whenever it is used", () => {
  const launches = [96, 200, 400, 8].map((elements) => ({ kernel: KERNEL, memory: [buffer(elements)] }));
  const allocator = createAllocator();
  new Scratch(allocator).take(launches);
  assertEquals([...allocator.held.keys()].map(({ bytes }) => bytes), [1600]);
});

Deno.test("programs share scratch memory, and the last one that uses it gives it back", () => {
  const allocator = createAllocator();
  const scratch = new Scratch(allocator);
  const program = (...elements: readonly number[]) =>
    scratch.take([{ kernel: KERNEL, memory: elements.map((count) => buffer(count)) }]);
  const first = program(400, 100);
  const second = program(300);
  assertEquals(allocator.held.size, 2);
  scratch.give(first);
  assertEquals([...allocator.held.keys()].map(({ bytes }) => bytes), [1600]);
  scratch.give(second);
  assertEquals(allocator.held.size, 0);
});
