/**
 * A recorded sequence of launches: its memory is planned from lifetimes once, then it is replayed without JavaScript.
 * @module
 */
import { NoGpuError } from "./errors.ts";
import type { Launch, Work } from "./family.ts";
import { bindingOf, bytesOf, type Gpu, type Resource } from "./gpu.ts";
import type { Layout, Memory } from "./tensor.ts";

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

/** What one launch took. */
export interface LaunchTime {
  /** The kernel's name. */
  readonly name: string;
  /** On the GPU's clock. */
  readonly milliseconds: number;
  /** The operation that it is part of, the same object for all of its launches. */
  readonly work: Work | undefined;
}

/** Passes that are measured in one submit: a query set holds at most 4,096 timestamps. */
const MEASURED_AT_ONCE = 1024;

/** Launches ready to run, with the memory they pass values through. */
export class Program {
  readonly #gpu: Gpu;
  readonly #commands: readonly Command[];
  readonly #memory: readonly Resource[];
  readonly #uniforms: GPUBuffer;

  /** Plans the memory of `launches`, compiles their kernels and makes their bind groups. */
  constructor(gpu: Gpu, launches: readonly Launch[]) {
    this.#gpu = gpu;
    const homes = planMemory(gpu, launches);
    this.#memory = [...new Set([...homes.values()].map(({ resource }) => resource))];
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
            resource: bindingOf(homes.get(memory)?.resource ?? gpu.resource(memory)),
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

  /** Bytes of the memory that launches pass values through. */
  get bytes(): number {
    return this.#memory.reduce((sum, resource) => sum + resource.bytes, 0);
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
   * Runs all launches, each in a pass of its own, and measures them on the GPU's clock. A pass costs 5-25 microseconds
   * that a launch in {@link run} does not.
   *
   * @throws {NoGpuError} when the GPU has no timestamps.
   */
  async profile(): Promise<readonly LaunchTime[]> {
    const times = await this.#measure(this.#commands.map((command) => [command]));
    return this.#commands.map(({ name, work }, i) => ({ name, milliseconds: times[i]!, work }));
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
    for (const resource of this.#memory) this.#gpu.release(resource);
    this.#uniforms.destroy();
  }
}

function encode(pass: GPUComputePassEncoder, { pipeline, bindings, workgroups }: Command): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  pass.dispatchWorkgroups(...workgroups);
}

/** Where values of one recording live, one after the other. */
export interface Home<Made> {
  /** What it was made for: it may hold less. */
  readonly layout: Layout;
  /** The memory, or what stands for it. */
  readonly resource: Made;
}

/**
 * Bytes of the memory that `launches` would pass values through; nothing is allocated.
 *
 * @throws {RangeError} when one binding cannot hold a value.
 */
export function plannedBytes(gpu: Pick<Gpu, "measure">, launches: readonly Launch[]): number {
  let bytes = 0;
  planMemory({ allocate: (layout, label) => bytes += gpu.measure(layout, label) }, launches);
  return bytes;
}

/** Whether memory of one layout can hold values of another: textures are only reused at their own size. */
function sameHome(a: Layout, b: Layout): boolean {
  if (a.kind === "texture" && b.kind === "texture") {
    return a.width === b.width && a.height === b.height && a.format === b.format;
  }
  return a.kind === "buffer" && b.kind === "buffer" && a.bytes >= b.bytes && a.bytes <= 2 * b.bytes;
}

/**
 * Gives every memory that lives only within the recording a home, shared by those whose lives do not overlap: the
 * smallest free home that fits, or a new one.
 */
export function planMemory<Made>(
  gpu: { readonly allocate: (layout: Layout, label: string) => Made },
  launches: readonly Launch[],
): ReadonlyMap<Memory, Home<Made>> {
  const last = new Map<Memory, number>();
  launches.forEach(({ memory }, i) => memory.forEach((memory) => last.set(memory, i)));
  const free: Home<Made>[] = [];
  const homes = new Map<Memory, Home<Made>>();
  launches.forEach(({ memory }, i) => {
    for (const wanted of memory) {
      if (wanted.kept || homes.has(wanted)) continue;
      const fits = free.filter((home) => sameHome(home.layout, wanted.layout));
      const best = fits.sort((a, b) => bytesOf(a.layout) - bytesOf(b.layout))[0];
      if (best) free.splice(free.indexOf(best), 1);
      homes.set(wanted, best ?? { layout: wanted.layout, resource: gpu.allocate(wanted.layout, wanted.label) });
    }
    for (const done of new Set(memory)) if (!done.kept && last.get(done) === i) free.push(homes.get(done)!);
  });
  return homes;
}
