/**
 * A recorded sequence of launches: its memory is planned from lifetimes once, then it is replayed without JavaScript.
 * @module
 */
import { NoGpuError } from "./errors.ts";
import type { Launch, Work } from "./backend.ts";
import { bindingOf, type Gpu, type Resource } from "./gpu.ts";
import { Scratch } from "./scratch.ts";
import type { Memory } from "./tensor.ts";

/** Uniform bindings start at multiples of this (WebGPU's default limit). */
const UNIFORM_ALIGNMENT = 256;

/** One launch, ready to encode. */
interface Command {
  readonly name: string;
  readonly work: Work | undefined;
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

/** What an operation took, or a launch that is part of none. */
export interface PassTime {
  /** The name of its first kernel. */
  readonly name: string;
  /** Launches in the pass. */
  readonly launches: number;
  /** On the GPU's clock. */
  readonly milliseconds: number;
  /** The operation. */
  readonly work: Work | undefined;
}

/** Passes that are measured in one submit: a query set holds at most 4,096 timestamps. */
const MEASURED_AT_ONCE = 1024;

/** Launches ready to run, with the memory they pass values through. */
export class Program {
  readonly #gpu: Gpu;
  readonly #commands: readonly Command[];
  readonly #memory: ReadonlyMap<Memory, Resource>;
  readonly #uniforms: GPUBuffer;

  /** Plans the memory of `launches`, compiles their kernels and makes their bind groups. */
  constructor(gpu: Gpu, launches: readonly Launch[]) {
    this.#gpu = gpu;
    this.#memory = gpu.scratch.take(launches);
    this.#uniforms = gpu.device.createBuffer({
      label: "sizes",
      size: Math.max(1, launches.length) * UNIFORM_ALIGNMENT,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    const uniforms = new Uint8Array(this.#uniforms.size);
    this.#commands = launches.map(({ kernel, memory, work }, i) => {
      uniforms.set(kernel.uniform, i * UNIFORM_ALIGNMENT);
      const pipeline = gpu.pipeline(kernel);
      const bindings = gpu.device.createBindGroup({
        label: kernel.name,
        layout: pipeline.getBindGroupLayout(0),
        entries: [
          ...memory.map((memory, binding) => ({
            binding,
            resource: bindingOf(this.#memory.get(memory) ?? gpu.resource(memory)),
          })),
          {
            binding: memory.length,
            resource: { buffer: this.#uniforms, offset: i * UNIFORM_ALIGNMENT, size: kernel.uniform.byteLength },
          },
        ],
      });
      return { name: kernel.name, work, pipeline, bindings, workgroups: kernel.workgroups };
    });
    gpu.device.queue.writeBuffer(this.#uniforms, 0, uniforms);
  }

  /** Names of the launches in order. */
  get names(): readonly string[] {
    return this.#commands.map((command) => command.name);
  }

  /** Bytes of the memory that launches pass values through, shared with other programs of the GPU. */
  get bytes(): number {
    return sumOfBytes(this.#memory);
  }

  /** Submits all launches, in order, in one pass; does not wait. */
  run(): void {
    const encoder = this.#gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const command of this.#commands) encode(pass, command);
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
    for (const command of this.#commands) {
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
    return this.#measure(Array.from({ length: count }, () => this.#commands));
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

  /** Gives the memory back. */
  dispose(): void {
    this.#gpu.scratch.give(this.#memory);
    this.#uniforms.destroy();
  }
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
