import { assert, assertEquals, assertThrows } from "@std/assert";
import { Gpu } from "../../kernels/gpu.ts";
import { type Kernel, kernel, type KernelParts } from "../../kernels/kernel.ts";
import { advance } from "../../kernels/recurrence.ts";
import { textureBackend } from "../../kernels/texture/mod.ts";
import { type CatalogueShape, everyLaunch, others, products, transformers, winograd } from "./catalogue.ts";
import { BACKENDS } from "./harness.ts";

const PARTS: KernelParts = {
  name: "half",
  ports: [{ kind: "buffer", name: "x", access: "read_write", element: "f32" }],
  sizes: { count: 3, first: -1 },
  values: { factor: 0.5 },
  body: "@compute @workgroup_size(1) fn main() { x[size.first + 1] *= size.factor; }",
  workgroups: [1, 2, 65535],
};

const SMALL: CatalogueShape = { batch: 2, channels: 32, height: 16, width: 16, groups: 8, heads: 4, keys: 77 };

Deno.test("a kernel declares its ports and its sizes", () => {
  const { wgsl, uniform } = kernel(PARTS);
  assert(wgsl.includes("@group(0) @binding(0) var<storage, read_write> x: array<f32>;"));
  assert(wgsl.includes("@group(0) @binding(1) var<uniform> size: Size;"));
  assert(wgsl.includes("struct Size {\n  count: i32,\n  first: i32,\n  factor: f32,\n}"));
  const view = new DataView(uniform.buffer);
  assertEquals(view.byteLength, 16);
  assertEquals([view.getInt32(0, true), view.getInt32(4, true), view.getFloat32(8, true)], [3, -1, 0.5]);
});

Deno.test("a kernel refuses numbers of workgroups that WebGPU does not run", () => {
  for (const count of [0, -1, 1.5, 65536, NaN, Infinity]) {
    for (const axis of [0, 1, 2]) {
      const workgroups = [1, 1, 1].map((one, i) => i === axis ? count : one) as [number, number, number];
      const text = `Kernel half asks for ${workgroups.join(" x ")} workgroups`;
      assertThrows(() => kernel({ ...PARTS, workgroups }), RangeError, text);
    }
  }
});

Deno.test("a kernel refuses sizes that are not 32-bit integers", () => {
  for (const count of [0.5, 2 ** 31, -(2 ** 31) - 1, NaN, Infinity]) {
    const text = `Size count of kernel half is ${count}, not a 32-bit integer`;
    assertThrows(() => kernel({ ...PARTS, sizes: { count } }), RangeError, text);
  }
});

for (const backend of BACKENDS) {
  Deno.test(`${backend.name}: shapes are not in the text`, () => {
    const other = { ...SMALL, channels: 64, height: 12, width: 20, groups: 16, heads: 6, keys: 40 };
    const [here, there] = [everyLaunch(backend, SMALL), everyLaunch(backend, other)];
    here.forEach(({ kernel }, i) => assertEquals(kernel.wgsl, there[i]!.kernel.wgsl, kernel.name));
  });

  Deno.test(`${backend.name}: every kernel binds as many pieces of memory as it has ports`, () => {
    for (const { kernel, memory } of everyLaunch(backend, SMALL)) {
      const kinds = memory.map(({ layout }) => layout.kind);
      assertEquals(kinds, kernel.ports.map((port) => port.kind), kernel.name);
    }
  });

  Deno.test(`${backend.name}: every text compiles`, async () => {
    await using gpu = await Gpu.open();
    const tiny = { ...SMALL, batch: 1, channels: 4, height: 1, width: 4, groups: 1, heads: 1, keys: 1 };
    for (const shape of [SMALL, tiny]) {
      for (const { kernel } of everyLaunch(backend, shape)) gpu.pipeline(kernel);
    }
    gpu.pipeline(advance({ ...BUFFER, label: "step" }).kernel);
    await gpu.finish();
  });
}

const BUFFER = { layout: { kind: "buffer", element: "u32", stride: 4, bytes: 16 }, kept: true } as const;

/** llvmpipe ends an invocation's loops after so many iterations in all, without a word. */
const MOST_ITERATIONS = 65535;

/** What the text reads as `size.NAME`. */
function sizesOf({ wgsl, uniform }: Kernel): ReadonlyMap<string, number> {
  const fields = wgsl.slice(0, wgsl.indexOf("}")).matchAll(/ {2}(\w+): i32,/g);
  const view = new DataView(uniform.buffer);
  return new Map([...fields].map(([, name], i) => [name!, view.getInt32(4 * i, true)]));
}

/** Iterations of all loops in one invocation, read off the text: nested loops multiply. */
function iterationsOf(kernel: Kernel): number {
  const sizes = sizesOf(kernel);
  const value = (factor: string) => factor.startsWith("size.") ? sizes.get(factor.slice(5))! : Number(factor);
  const loops = /for \(var \w+ = [^;]+; \w+ < ([^;]+); \w+(?:\+\+| \+= (\d+))\) \{|[{}]/g;
  const around = [1];
  let total = 0;
  let found = 0;
  for (const [text, limit, step = "1"] of kernel.wgsl.matchAll(loops)) {
    if (text === "}") around.pop();
    else if (limit === undefined) around.push(around.at(-1)!);
    else {
      const count = Math.ceil(limit.split(" * ").map(value).reduce((a, b) => a * b) / Number(step));
      around.push(around.at(-1)! * count);
      total += around.at(-1)!;
      found++;
    }
  }
  assertEquals(kernel.wgsl.split("for (").length - 1, found, `loops that are understood in ${kernel.name}`);
  return total;
}

Deno.test("texture: the largest layers of Stable Diffusion 1.4 end before llvmpipe ends them", () => {
  const picture = { batch: 1, groups: 32, heads: 1, keys: 77 };
  // An image of 1024x1024 in the decoder, its latent, and the lowest resolution after a concatenation.
  const large = { ...picture, channels: 256, height: 1024, width: 1024 };
  const latent = { ...picture, channels: 512, height: 128, width: 128, keys: 128 * 128 };
  const low = { ...picture, channels: 2560, height: 16, width: 16, heads: 160 };
  const launches = [
    ...[products, others].flatMap((make) => make(textureBackend, large)),
    // A strip.
    ...winograd(textureBackend, { ...large, height: 64 }),
    ...everyLaunch(textureBackend, latent),
    ...[products, others, transformers].flatMap((make) => make(textureBackend, low)),
  ];
  for (const { kernel } of launches) {
    const iterations = iterationsOf(kernel);
    assert(iterations < MOST_ITERATIONS, `${kernel.name} takes ${iterations} iterations`);
  }
});
