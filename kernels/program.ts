/**
 * A recorded sequence of launches: its memory is planned from lifetimes once, then it is replayed without JavaScript.
 * @module
 */
import { NoGpuError } from "./errors.ts";
import type { Kernel } from "./kernel.ts";
import type { Launch, Work } from "./launch.ts";
import { bindingOf, type Gpu, type Resource } from "./gpu.ts";
import { Scratch } from "./scratch.ts";
import type { Memory } from "./tensor.ts";

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
  readonly #withdraw: () => void;
  #memory: ReadonlyMap<Memory, Resource> | undefined;
  #bound: Bound | undefined;

  /**
   * Takes part in the planning of the memory that the programs of `gpu` share.
   *
   * @throws {GpuMemoryError} when one binding cannot hold a value.
   */
  constructor(gpu: Gpu, launches: readonly Launch[]) {
    for (const { layout, label } of launches.flatMap(({ memory }) => memory)) gpu.measure(layout, label);
    this.#gpu = gpu;
    this.#launches = launches;
    this.#withdraw = gpu.scratch.claim(launches, (memory) => this.#memory = memory);
  }

  #plan(): ReadonlyMap<Memory, Resource> {
    if (!this.#memory) this.#gpu.scratch.settle();
    return this.#memory!;
  }

  #bind(): Bound {
    return this.#bound ??= bind(this.#gpu, this.#launches, this.#plan());
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
    this.#withdraw();
    if (this.#memory) this.#gpu.scratch.give(this.#memory);
    this.#bound?.uniforms.destroy();
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
 * Bytes of the memory that `launches` would pass values through; nothing is allocated.
 *
 * @throws {GpuMemoryError} when one binding cannot hold a value.
 */
export function plannedBytes(gpu: Pick<Gpu, "measure">, launches: readonly Launch[]): number {
  const scratch = new Scratch({
    allocate: (layout, label) => ({ bytes: gpu.measure(layout, label) }),
    release: () => {},
  });
  return sumOfBytes(scratch.take(launches));
}

function sumOfBytes(places: ReadonlyMap<Memory, { readonly bytes: number }>): number {
  return [...new Set(places.values())].reduce((sum, { bytes }) => sum + bytes, 0);
}
