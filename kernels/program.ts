/**
 * A recorded sequence of launches: its memory is planned from lifetimes once, then it is replayed without JavaScript.
 * @module
 */
import { NoGpuError } from "./errors.ts";
import type { Kernel } from "./kernel.ts";
import type { Launch, Work } from "./launch.ts";
import { bindingOf, type Gpu, type Resource } from "./gpu.ts";
import { Scratch } from "./scratch.ts";
import { bytesOf, type Memory } from "./tensor.ts";

/** Uniform bindings start at multiples of this (WebGPU's default limit). */
const UNIFORM_ALIGNMENT = 256;

interface Command {
  readonly name: string;
  readonly work: Work | undefined;
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

/** What an operation took, or a launch that is part of none. */
export interface PassTime {
  readonly name: string;
  readonly launches: number;
  readonly milliseconds: number;
  readonly work: Work | undefined;
}

/** Passes that are measured in one submit: a query set holds at most 4,096 timestamps. */
const MEASURED_AT_ONCE = 1024;

interface Bound {
  readonly commands: readonly Command[];
  readonly uniforms: GPUBuffer;
}

/**
 * Launches, and the memory they pass values through: it is planned when one of the GPU's programs first runs; kernels
 * are compiled when this one does, or before by {@link Gpu.prepare}.
 */
export class Program {
  readonly #gpu: Gpu;
  readonly #launches: readonly Launch[];
  readonly #before: readonly (() => void)[];
  #withdraw: (() => void) | undefined;
  #memory: ReadonlyMap<Memory, Resource> | undefined;
  #bound: Bound | undefined;

  /**
   * Takes part in the planning of the memory that the programs of `gpu` share.
   *
   * @param before what else must have run before it does
   * @throws {GpuMemoryError} when one binding cannot hold a value.
   */
  constructor(gpu: Gpu, launches: readonly Launch[], before: readonly (() => void)[] = []) {
    for (const { layout, label } of launches.flatMap(({ memory }) => memory)) gpu.measure(layout, label);
    this.#gpu = gpu;
    this.#launches = launches;
    this.#before = before;
    this.wake();
  }

  /**
   * Bytes that `gpu` will hold when `programs` run, in addition to what it holds: what they pass values through together,
   * and kept memory, theirs and `more`, that is not real yet.
   */
  static bytesToCome(gpu: Gpu, programs: readonly Program[], more: Iterable<Memory> = []): number {
    const asleep = programs.filter((program) => program.#memory === undefined).map((program) => program.#launches);
    const kept = new Set([...programs.flatMap((program) => [...program.kept]), ...more]);
    const missing = [...kept].filter((memory) => !gpu.holds(memory));
    return missing.reduce((sum, { layout }) => sum + bytesOf(layout), plannedBytes(gpu, ...asleep));
  }

  /** The memory that it reads or writes and that outlives it. */
  get kept(): ReadonlySet<Memory> {
    return new Set(this.#launches.flatMap(({ memory }) => memory.filter(({ kept }) => kept)));
  }

  /** Takes part again in the planning of memory after {@link rest}. */
  wake(): void {
    this.#withdraw ??= this.#gpu.scratch.claim(this.#launches, (memory) => this.#memory = memory);
  }

  /** Gives back the memory that it passes values through, and forgets where kept memory is, until it runs again. */
  rest(): void {
    this.#withdraw?.();
    this.#withdraw = undefined;
    if (this.#memory) this.#gpu.scratch.give(this.#memory);
    this.#memory = undefined;
    this.#bound?.uniforms.destroy();
    this.#bound = undefined;
  }

  #plan(): ReadonlyMap<Memory, Resource> {
    this.wake();
    if (!this.#memory) this.#gpu.scratch.settle();
    return this.#memory!;
  }

  #bind(): Bound {
    if (this.#bound) return this.#bound;
    for (const act of this.#before) act();
    return this.#bound = bind(this.#gpu, this.#launches, this.#plan());
  }

  get names(): readonly string[] {
    return this.kernels.map(({ name }) => name);
  }

  /** What it runs, in order. */
  get kernels(): readonly Kernel[] {
    return this.#launches.map(({ kernel }) => kernel);
  }

  /** Bytes of the memory that launches pass values through, shared with other programs of the GPU. */
  get bytes(): number {
    return sumOfBytes(this.#plan());
  }

  /** Submits all launches, in order, in one pass; does not wait. */
  run(): void {
    const { commands } = this.#bind();
    const encoder = this.#gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const command of commands) encode(pass, command);
    pass.end();
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /**
   * Runs all launches, those of each operation in a pass of its own, and measures the passes on the GPU's clock. A pass
   * costs 5-25 microseconds that {@link run} does not spend.
   *
   * @throws {NoGpuError} when the GPU has no timestamps.
   */
  async profile(): Promise<readonly PassTime[]> {
    const passes: Command[][] = [];
    for (const command of this.#bind().commands) {
      const last = passes.at(-1);
      if (command.work && last?.[0]?.work === command.work) last.push(command);
      else passes.push([command]);
    }
    const times = await this.#measure(passes);
    return passes.map((commands, i) => {
      const { name, work } = commands[0]!;
      return { name, launches: commands.length, milliseconds: times[i]!, work };
    });
  }

  /**
   * Runs all launches `count` times, each time in one pass, and measures the passes on the GPU's clock, in
   * milliseconds.
   *
   * @throws {NoGpuError} when the GPU has no timestamps.
   */
  time(count: number): Promise<readonly number[]> {
    const { commands } = this.#bind();
    return this.#measure(Array.from({ length: count }, () => commands));
  }

  async #measure(passes: readonly (readonly Command[])[]): Promise<readonly number[]> {
    const times: number[] = [];
    for (let first = 0; first < passes.length; first += MEASURED_AT_ONCE) {
      times.push(...await this.#measureSome(passes.slice(first, first + MEASURED_AT_ONCE)));
    }
    return times;
  }

  async #measureSome(passes: readonly (readonly Command[])[]): Promise<readonly number[]> {
    const { device, adapter } = this.#gpu;
    if (!device.features.has("timestamp-query")) {
      throw new NoGpuError(`The GPU ${adapter.description} has no timestamps to measure with`);
    }
    const count = 2 * passes.length;
    const querySet = device.createQuerySet({ type: "timestamp", count });
    const bytes = 8 * count;
    const resolved = device.createBuffer({
      size: bytes,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    const staging = device.createBuffer({ size: bytes, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    passes.forEach((commands, i) => {
      const timestampWrites = { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 };
      const pass = encoder.beginComputePass({ timestampWrites });
      for (const command of commands) encode(pass, command);
      pass.end();
    });
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    this.#gpu.check();
    const ticks = new BigUint64Array(staging.getMappedRange().slice(0));
    for (const object of [querySet, resolved, staging]) object.destroy();
    return passes.map((_, i) => Number(ticks[2 * i + 1]! - ticks[2 * i]!) / 1e6);
  }

  dispose(): void {
    this.rest();
  }
}

function bind(gpu: Gpu, launches: readonly Launch[], memory: ReadonlyMap<Memory, Resource>): Bound {
  const uniforms = gpu.device.createBuffer({
    label: "sizes",
    size: Math.max(1, launches.length) * UNIFORM_ALIGNMENT,
    usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
  });
  const sizes = new Uint8Array(uniforms.size);
  const commands = launches.map((launch, i) => {
    const { kernel, work } = launch;
    sizes.set(kernel.uniform, i * UNIFORM_ALIGNMENT);
    const pipeline = gpu.pipeline(kernel);
    const bindings = gpu.device.createBindGroup({
      label: kernel.name,
      layout: pipeline.getBindGroupLayout(0),
      entries: [
        ...launch.memory.map((wanted, binding) => ({
          binding,
          resource: bindingOf(memory.get(wanted) ?? gpu.resource(wanted)),
        })),
        {
          binding: launch.memory.length,
          resource: { buffer: uniforms, offset: i * UNIFORM_ALIGNMENT, size: kernel.uniform.byteLength },
        },
      ],
    });
    return { name: kernel.name, work, pipeline, bindings, workgroups: kernel.workgroups };
  });
  gpu.device.queue.writeBuffer(uniforms, 0, sizes);
  return { commands, uniforms };
}

function encode(pass: GPUComputePassEncoder, { pipeline, bindings, workgroups }: Command): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  pass.dispatchWorkgroups(...workgroups);
}

/**
 * Bytes of the memory that `recordings` would pass values through, one after the other; nothing is allocated.
 *
 * @throws {GpuMemoryError} when one binding cannot hold a value.
 */
export function plannedBytes(gpu: Pick<Gpu, "measure">, ...recordings: readonly (readonly Launch[])[]): number {
  let sum = 0;
  const scratch = new Scratch({
    allocate: (layout, label) => {
      const bytes = gpu.measure(layout, label);
      sum += bytes;
      return { bytes };
    },
    release: () => {},
  });
  for (const launches of recordings) scratch.claim(launches, () => {});
  scratch.settle();
  return sum;
}

function sumOfBytes(places: ReadonlyMap<Memory, { readonly bytes: number }>): number {
  return [...new Set(places.values())].reduce((sum, { bytes }) => sum + bytes, 0);
}
