/**
 * The shaders that can run an operation of a model, without a GPU.
 * @module
 */
import { GpuMemoryError } from "../../kernels/errors.ts";
import type { Backend } from "../../kernels/backend.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import type { Launch, Operation, Way } from "../../kernels/launch.ts";
import { Ops, type Shape } from "../../kernels/ops.ts";
import type { Call } from "./model_calls.ts";
import { type Operands, operandShapes, perform } from "./performed_call.ts";

/** A call and how much work it is. */
export interface PlannedCall {
  readonly call: Call;
  /** Floating-point operations, and a hundred for each value that the test makes and reads. */
  readonly effort: number;
  /** For each way to run it, its shaders and what is special of its shape: equal where one test stands for both. */
  readonly sorts: readonly string[];
}

/** Looks at launches and runs none. */
class PlanningOps extends Ops {
  readonly ways: (readonly Launch[])[] = [];
  flops = 0;

  protected override get surveying(): boolean {
    return true;
  }

  override launch(): void {}

  protected override perform({ flops }: Operation, ways: readonly Way[]): void {
    this.flops = flops;
    this.ways.push(...ways.map(({ launches }) => launches()));
  }
}

/** Plans a call for `backend`. */
export function planCall(backend: Backend, call: Call): PlannedCall {
  const ops = planOps(backend, call);
  const shape = shapeSort(call);
  const sorts = ops.ways.map((launches) => {
    const texts = new Set(launches.map(({ kernel }) => kernel.wgsl));
    // tests/kernels/winograd_test.ts holds strips of small pictures; those that are made without being asked are large.
    const parts = launches.length > texts.size && !launches.some(({ kernel }) => kernel.name.startsWith("winograd"));
    return [shape, parts ? "in parts" : "at once", ...texts].join("\n");
  });
  return { call, effort: ops.flops + 100 * sizeOf(call), sorts };
}

/** The kernels of every way to run a call. */
export function kernelsOf(backend: Backend, call: Call): readonly Kernel[] {
  return planOps(backend, call).ways.flat().map(({ kernel }) => kernel);
}

function planOps(backend: Backend, call: Call): PlanningOps {
  const ops = new PlanningOps({} as Gpu, backend);
  perform(ops, call, planOperands(ops, call));
  return ops;
}

function planOperands(ops: Ops, call: Call): Operands {
  const keep = (channels: number, height: number) => ops.keep({ batch: 1, channels, height, width: 1 }, "operand");
  const { exact = false } = call;
  const tensors = operandShapes(call).map((shape) => ops.keep(shape, "operand", { exact }));
  if (call.kind !== "convolution") return { tensors, affine: keep(tensors[0]!.channels, 2) };
  const { x, out, window, bias } = call;
  const taps = window * window;
  // A layout depends on the shape alone; packing one output tells its element type and costs nothing.
  const memory = ops.backend.pack({ out: 1, in: 1, taps, data: new Uint16Array(taps) }).layout;
  const weights = keep(taps * x.channels, out);
  const layout = { ...weights.memory.layout, ...elementOf(memory) } as typeof memory;
  const own = { weights: { ...weights, memory: { ...weights.memory, layout } }, in: x.channels, out, window };
  return {
    tensors,
    layer: bias === "own" ? { ...own, bias: keep(out, 1) } : own,
    ...(bias === "step" && { stepBias: { values: keep(out, 3), step: ops.buffer(1, "step", "u32") } }),
  };
}

function elementOf(layout: Operands["tensors"][number]["memory"]["layout"]) {
  return layout.kind === "buffer" ? { element: layout.element } : { format: layout.format };
}

/**
 * What kernels treat apart, whatever their text: channels and columns that are not whole quads or tiles, textures that
 * are folded, groups that are not whole texels, strides and upsampling.
 */
function shapeSort(call: Call): string {
  const [first, second] = operandShapes(call) as [Shape, Shape?];
  const rest = (count: number) => count % 4 !== 0 ? "odd" : count % 64 !== 0 ? "quads" : "tiles";
  const of = ({ batch, channels, height, width }: Shape) => [
    rest(channels),
    rest(height * width),
    batch * height * width > 16384,
  ];
  return JSON.stringify([
    ...of(first),
    ...(call.kind === "attention" || call.kind === "concat" ? of(second!) : []),
    ...(call.kind === "convolution" ? [rest(call.out), call.options.stride, call.options.upsample] : []),
    ...(call.kind === "group norm" ? [call.x.channels / call.groups % 4] : []),
  ]);
}

/** The least work that the same shaders do in the same way as a call's. */
export function shrink(backend: Backend, planned: PlannedCall): PlannedCall {
  for (const call of smaller(planned.call)) {
    const candidate = tryPlan(backend, call);
    if (candidate && sameSorts(candidate, planned) && candidate.effort < planned.effort) {
      return shrink(backend, candidate);
    }
  }
  return planned;
}

/** Whether the same shaders can run two calls, in whatever order the rules prefer them. */
function sameSorts(a: PlannedCall, b: PlannedCall): boolean {
  return a.sorts.toSorted().join() === b.sorts.toSorted().join();
}

function tryPlan(backend: Backend, call: Call): PlannedCall | undefined {
  try {
    return planCall(backend, call);
  } catch (error) {
    // Halves that a kernel refuses.
    if (error instanceof RangeError || error instanceof GpuMemoryError) return undefined;
    throw error;
  }
}

/** Values of all operands. */
function sizeOf(call: Call): number {
  const weights = call.kind === "convolution" ? call.out * call.x.channels * call.window ** 2 : 0;
  return operandShapes(call).reduce(
    (sum, { batch, channels, height, width }) => sum + batch * channels * height * width,
    weights,
  );
}

/** A call with one of its extents halved, each in turn. */
function smaller(call: Call): readonly Call[] {
  const half = (count: number) => Math.ceil(count / 2);
  // Whole tiles stay whole.
  const fewer = (count: number) => count % 64 === 0 ? 64 * Math.ceil(count / 128) : half(count);
  if (call.kind === "attention") {
    const { q, keys, heads } = call;
    return [
      { ...call, q: { ...q, height: half(q.height) } },
      { ...call, q: { ...q, width: half(q.width) } },
      { ...call, keys: half(keys) },
      ...(heads % 2 === 0 ? [{ ...call, heads: heads / 2, q: { ...q, channels: q.channels / 2 } }] : []),
    ];
  }
  const { x } = call;
  const sizes = call.kind === "convolution" && call.options.image
    ? []
    : [{ ...call, x: { ...x, height: half(x.height) } }, { ...call, x: { ...x, width: half(x.width) } }];
  if (call.kind === "group norm") {
    const { groups } = call;
    return groups % 2 === 0
      ? [...sizes, { ...call, groups: groups / 2, x: { ...x, channels: x.channels / 2 } }]
      : sizes;
  }
  const channels = { ...call, x: { ...x, channels: fewer(x.channels) } };
  if (call.kind === "convolution") return [...sizes, channels, { ...call, out: 2 * fewer(call.out / 2) }];
  return call.kind === "concat" ? [...sizes, channels, { ...call, second: fewer(call.second) }] : [...sizes, channels];
}
