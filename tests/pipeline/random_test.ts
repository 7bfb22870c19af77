import { assert, assertEquals, assertThrows } from "@std/assert";
import { createNoiseSource } from "../../pipeline/random/mod.ts";
import { createTorchCpu } from "../../pipeline/random/torch_cpu.ts";
import { readGolden } from "../golden.ts";

const golden = readGolden("fixtures/rng/randn.safetensors");
const seeds = [0n, 1n, 42n, 1234567890n, 4294967295n];

/** Fails where `actual` is further than `allowed` from the golden tensor `name`; returns the differences. */
function assertGolden(name: string, actual: ArrayLike<number>, allowed: number): number[] {
  const { data } = golden.get(name)!;
  assertEquals(actual.length, data.length, name);
  const differences = Array.from(data, (want, i) => Math.abs(actual[i]! - want));
  const worst = differences.findIndex((difference) => !(difference <= allowed));
  assert(worst < 0, `${name}[${worst}]: got ${actual[worst]}, want ${data[worst]} within ${allowed}`);
  return differences;
}

for (const seed of seeds) {
  Deno.test(`CPU noise of seed ${seed} equals torch's for every shape`, () => {
    const names = [...golden.keys()].filter((name) => new RegExp(`^cpu\\.${seed}\\.[\\dx]+$`).test(name));
    assertEquals(names.length, 10);
    for (const name of names) {
      const elements = golden.get(name)!.data.length;
      assertGolden(name, createNoiseSource("cpu", seed).normal(elements), 5e-7);
    }
  });

  Deno.test(`CPU noise of seed ${seed} goes on from draw to draw`, () => {
    const source = createNoiseSource("cpu", seed);
    assertGolden(`cpu.${seed}.seq5-20`, [...source.normal(5), ...source.normal(20)], 5e-7);
  });

  Deno.test(`CPU uniform numbers of seed ${seed} equal torch's to the bit`, () => {
    assertGolden(`cpu.${seed}.uniform.10`, createTorchCpu(seed).uniform(10), 0);
  });

  Deno.test(`CPU float16 noise of seed ${seed} equals torch's to the bit`, () => {
    const source = createNoiseSource("cpu", seed, { format: "float16" });
    assertGolden(`cpu.${seed}.f16.1x4x8x8`, source.normal(256), 0);
  });

  Deno.test(`CUDA noise of seed ${seed} equals torch's within CUDA's fast sine`, () => {
    const source = createNoiseSource("cuda", seed);
    assertGolden(`cuda.${seed}.seq`, [...source.normal(256), ...source.normal(256)], 2.1e-6);
    const latent = createNoiseSource("cuda", seed).normal(16384);
    const differences = assertGolden(`cuda.${seed}.1x4x64x64`, latent, 2.1e-6);
    assert(differences.filter((difference) => difference < 1e-6).length > 0.99 * latent.length);
  });
}

Deno.test("a CPU seed counts by its low 32 bits, a CUDA seed by all 64", () => {
  const seed = 42n;
  const above = seed + (1n << 32n);
  assertEquals(createNoiseSource("cpu", above).normal(16), createNoiseSource("cpu", seed).normal(16));
  const [cuda] = createNoiseSource("cuda", above).normal(1);
  assert(cuda !== createNoiseSource("cuda", seed).normal(1)[0]);
});

Deno.test("CUDA float16 noise is rounded float32 noise", () => {
  const rounded = createNoiseSource("cuda", 1n).normal(64).map(Math.f16round);
  assertEquals(createNoiseSource("cuda", 1n, { format: "float16" }).normal(64), rounded);
});

Deno.test("seeds outside 64 bits are refused", () => {
  assertThrows(() => createNoiseSource("cpu", -1n), RangeError, "Seed -1");
  assertThrows(() => createNoiseSource("cuda", 1n << 64n), RangeError, "18446744073709551616");
});
