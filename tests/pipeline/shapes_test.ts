import { assert, assertEquals } from "@std/assert";
import { GpuMemoryError } from "../../kernels/errors.ts";
import type { Backend } from "../../kernels/backend.ts";
import { Gpu } from "../../kernels/gpu.ts";
import type { Operation, Way } from "../../kernels/launch.ts";
import { bufferBackends } from "../../kernels/mod.ts";
import { BACKENDS, type Bench, createBench, HALF_BACKEND, TakenOps } from "../kernels/harness.ts";
import { type Call, everyCall } from "./model_calls.ts";
import { type Operands, operandShapes, performExactly } from "./performed_call.ts";
import { planCall, type PlannedCall, shrink } from "./planned_call.ts";
import { drawValues, resultShape, sampleOf, type Values } from "./sampled_call.ts";

/**
 * Whether each shape of each model is tested as it is, in every backend: minutes on a GPU, hours on llvmpipe. Otherwise
 * those that take more than {@link MOST_EFFORT} are represented by the smallest shapes of their sort.
 */
const ALL = Deno.env.get("DENOISE_TEST_SHAPES") === "all";

/** See {@link PlannedCall.effort}: what lets the tests take half a minute each on llvmpipe. */
const MOST_EFFORT = { "texture": 1e9, "buffer": 5e7 };

/** Outputs that are compared, of each operation: those at the corners, and random ones. */
const SAMPLES = 64;

/** Operands up to this size have NaN wherever their layout holds no value. */
const MOST_POISONED = 1 << 18;

/** Runs the way that it is told to. */
class WayOps extends TakenOps {
  /** Which of the ways runs, and how many there are. */
  way = 0;
  names: readonly string[] = [];

  protected override perform(_operation: Operation, ways: readonly Way[]): void {
    this.names = ways.map(({ kernels }) => kernels);
    this.launch(...ways[this.way]!.launches());
  }
}

/** The operations that are run for `backend`: those that it takes long for are left to others of their sort. */
function chooseCalls(backend: Backend, most: number): readonly Call[] {
  const planned = everyCall().map((call) => planCall(backend, call)).toSorted((a, b) => a.effort - b.effort);
  if (ALL) return planned.map(({ call }) => call);
  const covered = new Set<string>();
  const chosen: PlannedCall[] = [];
  for (const plan of planned) {
    const isNew = plan.sorts.some((sort) => !covered.has(sort));
    if (isNew || plan.effort <= most) chosen.push(plan.effort > most ? shrink(backend, plan) : plan);
    plan.sorts.forEach((sort) => covered.add(sort));
  }
  return chosen.map(({ call }) => call);
}

function createOperands({ ops, tensor }: Bench, call: Call, values: Values): Operands {
  const tensors = operandShapes(call).map((shape, i) => {
    const own = values.tensors[i]!;
    if (own.length <= MOST_POISONED) return tensor({ ...shape, values: Float64Array.from(own) });
    const kept = ops.keep(shape, "operand");
    ops.write(kept, own);
    return kept;
  });
  const [weight, bias] = values.affine;
  if (call.kind === "group norm" || call.kind === "layer norm") return { tensors, affine: ops.affine(weight, bias) };
  if (call.kind !== "convolution") return { tensors };
  const weights = { out: call.out, in: call.x.channels, taps: call.window ** 2 };
  const data = new Uint16Array(values.weights.buffer);
  const layer = ops.layer({ ...weights, data }, call.bias === "own" ? bias : undefined);
  if (call.bias !== "step") return { tensors, layer };
  // Of three steps the second runs.
  const table = ops.keep({ batch: 1, channels: call.out, height: 3, width: 1 }, "biases");
  ops.write(table, Float32Array.from({ length: 3 * call.out }, (_, i) => i % 3 === 1 ? bias[Math.floor(i / 3)]! : NaN));
  const step = ops.buffer(1, "step", "u32");
  ops.gpu.write(step, Uint32Array.of(1));
  return { tensors, layer, stepBias: { values: table, step } };
}

function freeOperands({ ops }: Bench, { tensors, layer, affine, stepBias }: Operands): void {
  const memories = [...tensors, layer?.weights, layer?.bias, affine, stepBias?.values].flatMap((x) => x?.memory ?? []);
  for (const memory of [...memories, ...(stepBias ? [stepBias.step] : [])]) ops.gpu.free(memory);
  ops.dispose();
}

/** Indices of outputs to compare: the first and the last of every sample, and others spread over all. */
function sampleIndices(count: number, batch: number): readonly number[] {
  const edges = Array.from({ length: batch }, (_, b) => [b * count / batch, (b + 1) * count / batch - 1]).flat();
  let state = count;
  const random = Array.from({ length: SAMPLES - edges.length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * count);
  });
  return [...edges, ...random];
}

/** Runs a call in each of its ways and compares samples of what it computes with the definition. */
async function compareCall(bench: Bench, ops: WayOps, call: Call, half: boolean): Promise<void> {
  const values = drawValues(call);
  const operands = createOperands(bench, call, values);
  const shape = resultShape(call);
  const { batch, channels } = shape;
  const count = shape.height * shape.width;
  try {
    for (ops.way = 0; ops.way === 0 || ops.way < ops.names.length; ops.way++) {
      const got = await bench.run(() => performExactly(ops, call, operands)).catch(unlessTooLarge);
      if (!got) continue;
      assertEquals([got.batch, got.channels, got.height * got.width], [
        batch,
        channels,
        count,
      ]);
      const kernels = ops.names[ops.way]!;
      for (const index of sampleIndices(batch * channels * count, batch)) {
        const place = [
          Math.floor(index / count / channels),
          Math.floor(index / count) % channels,
          index % count,
        ] as const;
        const { want, allowed } = sampleOf(call, values, place, { kernels, half });
        const value = got.values[index]!;
        assert(
          Math.abs(value - want) <= allowed,
          `${kernels} at ${place}: got ${value}, want ${want}, allowed ${allowed}`,
        );
      }
    }
  } finally {
    freeOperands(bench, operands);
  }
}

/** What does not fit into a binding of this GPU no picture can ask of it. */
function unlessTooLarge(error: unknown): undefined {
  if (!(error instanceof GpuMemoryError)) throw error;
}

async function testCalls(backend: Backend, t: Deno.TestContext, { most, half }: { most: number; half: boolean }) {
  await using gpu = await Gpu.open();
  if (half && gpu.matrices.length > 0) backend = bufferBackends(gpu).half;
  if (half && !gpu.device.features.has("shader-f16")) return;
  const ops = new WayOps(gpu, backend);
  const bench = createBench(ops);
  for (const call of chooseCalls(backend, most)) {
    await t.step(JSON.stringify(call), () => compareCall(bench, ops, call, half));
  }
  assertEquals(gpu.bytes, 0);
  await gpu.finish();
}

for (const backend of BACKENDS) {
  Deno.test(`${backend.name}: every operation of every model, in every way, equals its definition`, (t) =>
    testCalls(backend, t, { most: MOST_EFFORT[backend.name], half: false }));
}

Deno.test("buffer with float16: every operation of every model, in every way, equals its definition", (t) =>
  testCalls(HALF_BACKEND, t, { most: 0, half: true }));
