import { assert, assertEquals, assertRejects } from "@std/assert";
import type { AdapterInfo } from "../../kernels/device.ts";
import { GpuFailedError, GpuMemoryError } from "../../kernels/errors.ts";
import { kernel } from "../../kernels/kernel.ts";
import type { Launch, Way } from "../../kernels/launch.ts";
import { Program } from "../../kernels/program.ts";
import {
  type Candidates,
  hasTable,
  type KernelTimes,
  Selection,
  type SelectionOptions,
  type Timer,
  timerOf,
  type TimingStore,
} from "../../kernels/selection.ts";
import type { Memory } from "../../kernels/tensor.ts";
import { openFakeGpu } from "./fake_device.ts";

const RADEON: AdapterInfo = {
  description: "Radeon",
  vendor: "4098",
  architecture: "rdna-3",
  software: false,
  webgpu: "Deno 2.9.6",
};
const LLVMPIPE: AdapterInfo = {
  description: "llvmpipe (LLVM 15)",
  vendor: "65541",
  architecture: "",
  software: true,
  webgpu: "Deno 2.9.6",
};
const H100: AdapterInfo = {
  description: "NVIDIA H100",
  vendor: "4318",
  architecture: "",
  software: false,
  webgpu: "Deno 2.9.6",
};

function way(kernels: string, bytes = 16): Way {
  const memory: Memory = { layout: { kind: "buffer", element: "f32", stride: 4, bytes }, label: "x", kept: true };
  const launch = kernel({ name: kernels, ports: [], sizes: {}, body: "", workgroups: [1, 1, 1] });
  return { kernels, launches: () => [{ kernel: launch, memory: [memory] }] };
}

function operation(key: string, flops: number, ...ways: readonly Way[]): Candidates {
  return { key, flops, bytes: 0, ways: ways.length > 0 ? ways : [way("rule"), way("other")] };
}

/** An adapter whose kernels take as long as a test says, on a clock that stands still otherwise. */
class FakeGpu {
  now = 0;
  readonly timed: string[] = [];
  /** Milliseconds by the kernel's name; or a failure. */
  readonly times: Readonly<Record<string, number | Error>>;

  constructor(times: Readonly<Record<string, number | Error>>) {
    this.times = times;
  }

  readonly timer: Timer = (launches) => {
    const { name } = launches[0]!.kernel;
    this.timed.push(name);
    const time = this.times[name]!;
    if (time instanceof Error) return Promise.reject(time);
    this.now += time;
    return Promise.resolve(time);
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
  // Only what may run is chosen, and kernels that were never timed are timed.
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
  const gpu = new FakeGpu({ small: 1, often: 1, large: 1 });
  const found = [
    operation("small", 1e6, way("small")),
    operation("large", 1e9, way("large")),
    ...[1, 2, 3].map(() => operation("often", 4e8, way("often"))),
  ];
  await gpu.select(RADEON).measure(found, gpu.timer);
  // 0.4 GFLOP three times are more than 1 GFLOP once.
  assertEquals(gpu.timed, ["often", "large", "small"]);
});

Deno.test("no timing begins after 2 s, of all calls together; what is not reached is left to the rules", async () => {
  const gpu = new FakeGpu({ rule: 30, other: 20 });
  const store = openStore();
  const selection = gpu.select(RADEON, { store });
  const keys = Array.from({ length: 60 }, (_, i) => `operation ${i}`);
  const found = keys.map((key) => operation(key, 1e8));
  await selection.measure(found.slice(0, 20), gpu.timer);
  assertEquals([gpu.now, gpu.timed.length], [1000, 40]);
  await selection.measure(found.slice(20), gpu.timer);
  assertEquals([gpu.now, gpu.timed.length], [2000, 80]);
  const times = store.kept.get("Radeon")!;
  assertEquals([times.get(keys[39]!), times.get(keys[40]!)], [{ rule: 30, other: 20 }, { rule: null, other: null }]);
  const missed = keys.at(-1)!;
  assertEquals([selection.fastest(missed, BOTH), selection.wants(missed, BOTH)], [undefined, false]);
  // The next run leaves it so, unless it is asked to go on.
  assertEquals(gpu.select(RADEON, { store }).wants(missed, BOTH), false);
  assertEquals(gpu.select(RADEON, { store, tune: true }).wants(missed, BOTH), true);
  assertEquals(gpu.select(RADEON, { store, tune: true }).wants(keys[0]!, BOTH), false);
});

Deno.test("where there is no time for the second way, the first is not chosen for being the only one", async () => {
  const gpu = new FakeGpu({ rule: 2001, other: 1 });
  const store = openStore();
  await gpu.select(RADEON, { store }).measure([operation("a", 4e8)], gpu.timer);
  assertEquals(gpu.timed, ["rule"]);
  assertEquals(store.kept.get("Radeon")!.get("a"), { rule: null, other: null });
});

Deno.test("kernels that need more than a gibibyte, or refuse the shape, are not timed", async () => {
  const gpu = new FakeGpu({ rule: 2, other: 1, third: 3 });
  const selection = gpu.select(RADEON);
  const large = 2 ** 30 + 4;
  await selection.measure([
    operation("other is large", 1e6, way("rule"), way("other", large), way("third")),
    operation("rule is large", 1e6, way("rule", large), way("other")),
    operation("other refuses", 1e6, way("rule"), {
      kernels: "other",
      launches() {
        throw new RangeError("too narrow");
      },
    }),
  ], gpu.timer);
  assertEquals([selection.fastest("other refuses", BOTH), selection.wants("other refuses", BOTH)], ["rule", false]);
  const names = [...BOTH, "third"];
  assertEquals([selection.fastest("other is large", names), selection.fastest("rule is large", BOTH)], [
    "rule",
    undefined,
  ]);
});

function buffer(elements: number): Memory {
  return { layout: { kind: "buffer", element: "f32", stride: elements, bytes: 4 * elements }, label: "x", kept: true };
}

/** Adds one to the first value of a buffer. */
function adding(x: Memory, sum = "x[0] + f32(size.one)"): Launch {
  const adding = kernel({
    name: "adding",
    ports: [{ kind: "buffer", name: "x", access: "read_write", element: "f32" }],
    sizes: { one: 1 },
    body: `@compute @workgroup_size(1) fn main() { x[0] = ${sum}; }`,
    workgroups: [1, 1, 1],
  });
  return { kernel: adding, memory: [x] };
}

Deno.test("launches are timed in memory of their own, which is given back", async () => {
  await using gpu = (await openFakeGpu()).gpu;
  const x = buffer(4);
  gpu.write(x, Float32Array.of(1, 2, 3, 4));
  assert(await timerOf(gpu)([adding(x), adding(x)]) > 0);
  assertEquals([...await gpu.read(x)], [1, 2, 3, 4]);
  assertEquals(gpu.bytes, 16);
});

Deno.test("what a timing is refused fails nothing after it", async () => {
  const tooLarge = { ...buffer(4), layout: { ...buffer(4).layout, bytes: 2 ** 40 } } as Memory;
  const refusals = [
    { allocation: 2, launches: [adding(buffer(8))], error: GpuMemoryError },
    { allocation: 99, launches: [adding(buffer(8), "nothing")], error: GpuFailedError },
    { allocation: 99, launches: [adding(buffer(8)), adding(tooLarge)], error: GpuMemoryError },
  ];
  for (const { allocation, launches, error } of refusals) {
    await using gpu = (await openFakeGpu(allocation)).gpu;
    const x = buffer(4);
    gpu.write(x, Float32Array.of(1, 2, 3, 4));
    await assertRejects<Error>(() => timerOf(gpu)(launches), error);
    const program = new Program(gpu, [adding(x)]);
    program.run();
    assertEquals([...await gpu.read(x)], [2, 2, 3, 4]);
    program.dispose();
    assertEquals(gpu.bytes, 16);
  }
});

Deno.test("a GPU that is lost stays so", async () => {
  const { gpu, lose } = await openFakeGpu();
  const timing = timerOf(gpu)([adding(buffer(4))]);
  const losing = lose("timed out");
  await assertRejects(() => timing, GpuFailedError);
  await losing;
  await assertRejects(() => timerOf(gpu)([adding(buffer(4))]), GpuFailedError, "The GPU was lost: timed out");
  await assertRejects(() => gpu.finish(), GpuFailedError, "The GPU was lost: timed out");
  await gpu[Symbol.asyncDispose]();
});
