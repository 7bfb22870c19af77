import { assert, assertEquals } from "@std/assert";
import type { Candidates, KernelTimes, Timer, Way } from "../../kernels/candidates.ts";
import type { AdapterInfo } from "../../kernels/device.ts";
import { kernel } from "../../kernels/kernel.ts";
import { hasTable, Selection, type SelectionOptions, type TimingStore } from "../../kernels/selection.ts";
import type { Memory } from "../../kernels/tensor.ts";

const RADEON: AdapterInfo = { description: "Radeon", vendor: "4098", architecture: "rdna-3", software: false };
const LLVMPIPE: AdapterInfo = { description: "llvmpipe (LLVM 15)", vendor: "65541", architecture: "", software: true };
const H100: AdapterInfo = { description: "NVIDIA H100", vendor: "4318", architecture: "", software: false };

/** A way whose shader is `text`, with `bytes` of memory. */
function way(kernels: string, text = kernels, bytes = 16): Way {
  const memory: Memory = { layout: { kind: "buffer", element: "f32", stride: 4, bytes }, label: "x", kept: true };
  const launch = kernel({ name: kernels, ports: [], sizes: {}, body: `// ${text}`, workgroups: [1, 1, 1] });
  return { kernels, launches: [{ kernel: launch, memory: [memory] }] };
}

function operation(key: string, flops: number, ...ways: readonly Way[]): Candidates {
  return { key, flops, bytes: 0, ways: ways.length > 0 ? ways : [way("rule"), way("other")] };
}

/** An adapter whose shaders take as long as a test says, and which notes what it was asked for. */
class FakeGpu {
  now = 0;
  readonly timed: string[] = [];
  /** Milliseconds of a pass by the kernel's name; or a failure. */
  readonly passes: Readonly<Record<string, number | Error>>;
  readonly #compilation: number;
  readonly #compiled = new Set<string>();

  constructor(passes: Readonly<Record<string, number | Error>>, compilation = 0) {
    this.passes = passes;
    this.#compilation = compilation;
  }

  readonly timer: Timer = (launches, passes) => {
    const { name, wgsl } = launches[0]!.kernel;
    this.timed.push(name);
    const pass = this.passes[name]!;
    if (pass instanceof Error) return Promise.reject(pass);
    if (!this.#compiled.has(wgsl)) this.now += this.#compilation;
    this.#compiled.add(wgsl);
    // Deno's wait.
    this.now += 11 + passes * pass;
    return Promise.resolve(pass);
  };

  select(adapter: AdapterInfo, options?: SelectionOptions): Selection {
    return new Selection(adapter, options, () => this.now);
  }
}

/** A store in memory. */
function openStore(): TimingStore & { readonly kept: Map<string, ReadonlyMap<string, KernelTimes>> } {
  const kept = new Map<string, ReadonlyMap<string, KernelTimes>>();
  return {
    kept,
    read: ({ description }) => kept.get(description) ?? new Map(),
    write: ({ description }, times) => void kept.set(description, new Map(times)),
  };
}

const BOTH = ["rule", "other"];

Deno.test("llvmpipe and NVIDIA have tables: nothing is timed there unless it is asked for", () => {
  assertEquals([LLVMPIPE, H100, RADEON].map(hasTable), [true, true, false]);
  const gpu = new FakeGpu({});
  for (const adapter of [LLVMPIPE, H100]) {
    assertEquals([gpu.select(adapter).times, gpu.select(adapter, { tune: true }).times], [false, true]);
    assertEquals(gpu.select(adapter).wants("a", BOTH), false);
  }
  assertEquals(gpu.select(RADEON).wants("a", BOTH), true);
});

Deno.test("the fastest is chosen, and chosen again by the next run without timing", async () => {
  const store = openStore();
  const gpu = new FakeGpu({ rule: 2, other: 1, slow: 3, broken: new RangeError("too large") });
  const selection = gpu.select(RADEON, { store });
  assertEquals(selection.fastest("a", BOTH), undefined);
  await selection.measure([
    operation("a", 1e6),
    operation("b", 1e6, way("rule"), way("slow")),
    operation("c", 1e6, way("rule"), way("broken")),
  ], gpu.timer);
  const chosen = (of: Selection) => [
    of.fastest("a", BOTH),
    of.fastest("b", ["rule", "slow"]),
    of.fastest("c", ["rule", "broken"]),
    of.fastest("d", BOTH),
  ];
  assertEquals(chosen(selection), ["other", "rule", "rule", undefined]);
  const later = gpu.select(RADEON, { store });
  assertEquals(chosen(later), chosen(selection));
  assertEquals([later.wants("a", BOTH), later.wants("c", ["rule", "broken"]), later.wants("d", BOTH)], [
    false,
    false,
    true,
  ]);
  assertEquals(store.kept.get("Radeon")!.get("c"), { rule: 2, broken: null });
  // Only what may run is chosen, and kernels that nobody timed are timed.
  assertEquals(later.fastest("a", ["rule"]), "rule");
  assertEquals(later.wants("a", [...BOTH, "third"]), true);
  // Another adapter knows nothing of it.
  assertEquals(gpu.select({ ...RADEON, description: "Arc" }, { store }).fastest("a", BOTH), undefined);
});

Deno.test("timings of an H100 that were asked for rule there from then on", async () => {
  const store = openStore();
  const gpu = new FakeGpu({ rule: 2, other: 1 });
  await gpu.select(H100, { store, tune: true }).measure([operation("a", 1e6)], gpu.timer);
  assertEquals(gpu.select(H100, { store }).fastest("a", BOTH), "other");
});

Deno.test("the most work is timed first, equal operations once", async () => {
  // One TFLOP/s: known from the first operation on.
  const sizes = { small: 1e6, often: 4e8, large: 1e9 };
  const gpu = new FakeGpu(Object.fromEntries(Object.entries(sizes).map(([name, flops]) => [name, flops / 1e9])));
  const found = [
    operation("small", sizes.small, way("small")),
    operation("large", sizes.large, way("large")),
    ...[1, 2, 3].map(() => operation("often", sizes.often, way("often"))),
  ];
  await gpu.select(RADEON).measure(found, gpu.timer);
  // 0.4 GFLOP three times are more than 1 GFLOP once, and still surely done in time by the slowest adapter.
  assertEquals(gpu.timed, ["often", "large", "small"]);
});

Deno.test("timings take 2 s at most, all calls together; what they do not reach is left to the rules", async () => {
  for (const compilation of [0, 30, 300]) {
    const gpu = new FakeGpu({ rule: 1, other: 2 }, compilation);
    const store = openStore();
    const selection = gpu.select(RADEON, { store });
    const keys = Array.from({ length: 400 }, (_, i) => `operation ${i}`);
    const found = keys.map((key, i) => operation(key, 2e8, way("rule", `${i >> 1}`), way("other", `other ${i >> 1}`)));
    await selection.measure(found.slice(0, 40), gpu.timer);
    assert(gpu.now <= 2000, `${gpu.now} ms with ${compilation} ms for a shader`);
    await selection.measure(found.slice(40), gpu.timer);
    assert(gpu.now <= 2000 && gpu.now > 1000, `${gpu.now} ms with ${compilation} ms for a shader`);
    const times = store.kept.get("Radeon")!;
    assertEquals(times.size, 400);
    const reached = keys.filter((key) => times.get(key)!["rule"] !== null);
    assert(reached.length > 2 && reached.length < 100);
    const missed = keys.at(-1)!;
    assertEquals([selection.fastest(missed, BOTH), selection.wants(missed, BOTH)], [undefined, false]);
    // The next run leaves it so, unless it is asked to go on.
    assertEquals(gpu.select(RADEON, { store }).wants(missed, BOTH), false);
    assertEquals(gpu.select(RADEON, { store, tune: true }).wants(missed, BOTH), true);
    assertEquals(gpu.select(RADEON, { store, tune: true }).wants(reached[0]!, BOTH), false);
  }
});

Deno.test("operations that a slow adapter cannot do in time are not begun", async () => {
  // 5 GFLOP/s: the large one would take 20 s.
  const gpu = new FakeGpu({ small: 20, "small other": 20, large: 20000, "large other": 20000 });
  const found = [
    operation("large", 1e11, way("large"), way("large other")),
    operation("small", 1e8, way("small"), way("small other")),
  ];
  await gpu.select(RADEON).measure(found, gpu.timer);
  assertEquals(gpu.timed, ["small", "small other"]);
});

Deno.test("where there is no time for the second way, the first is not chosen for being the only one", async () => {
  const gpu = new FakeGpu({ rule: 990, other: 1 });
  const store = openStore();
  const selection = gpu.select(RADEON, { store });
  await selection.measure([operation("a", 4e8)], gpu.timer);
  assertEquals(gpu.timed, ["rule"]);
  assertEquals(store.kept.get("Radeon")!.get("a"), { rule: null, other: null });
});

Deno.test("kernels that need more than a gibibyte, or refuse the shape, are not timed", async () => {
  const gpu = new FakeGpu({ rule: 2, other: 1, third: 3 });
  const selection = gpu.select(RADEON);
  const large = 2 ** 30 + 4;
  await selection.measure([
    operation("other is large", 1e6, way("rule"), way("other", "other", large), way("third")),
    operation("rule is large", 1e6, way("rule", "rule", large), way("other")),
    operation("other refuses", 1e6, way("rule"), { kernels: "other", launches: undefined }),
  ], gpu.timer);
  assertEquals([selection.fastest("other refuses", BOTH), selection.wants("other refuses", BOTH)], ["rule", false]);
  const names = [...BOTH, "third"];
  assertEquals([selection.fastest("other is large", names), selection.fastest("rule is large", BOTH)], [
    "rule",
    undefined,
  ]);
});
