/**
 * A recorded sequence of launches: its memory is planned from lifetimes once, then it is replayed without JavaScript.
 * @module
 */
import type { Launch } from "./family.ts";
import { bindingOf, bytesOf, type Gpu, type Resource } from "./gpu.ts";
import type { Layout, Memory } from "./tensor.ts";

/** Uniform bindings start at multiples of this (WebGPU's default limit). */
const UNIFORM_ALIGNMENT = 256;

/** One launch, ready to encode. */
interface Command {
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

/** What one launch took. */
export interface LaunchTime {
  readonly name: string;
  readonly milliseconds: number;
}

/** Launches of one {@link Program.profile} submit: a query set holds at most 4,096 timestamps. */
const PROFILED_AT_ONCE = 1024;

/** Launches ready to run, with the memory they pass values through. */
export class Program {
  readonly #gpu: Gpu;
  readonly #commands: readonly Command[];
  readonly #memory: readonly Resource[];
  readonly #uniforms: GPUBuffer;

  /** Plans the memory of `launches`, compiles their kernels and makes their bind groups. */
  constructor(gpu: Gpu, launches: readonly Launch[]) {
    this.#gpu = gpu;
    const { resources, homes } = planMemory(gpu, launches);
    this.#memory = resources;
    this.#uniforms = gpu.device.createBuffer({
      label: "sizes",
      size: Math.max(1, launches.length) * UNIFORM_ALIGNMENT,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    const uniforms = new Uint8Array(this.#uniforms.size);
    this.#commands = launches.map(({ kernel, memory }, i) => {
      uniforms.set(kernel.uniform, i * UNIFORM_ALIGNMENT);
      const pipeline = gpu.pipeline(kernel);
      const bindings = gpu.device.createBindGroup({
        label: kernel.name,
        layout: pipeline.getBindGroupLayout(0),
        entries: [
          ...memory.map((memory, binding) => ({
            binding,
            resource: bindingOf(homes.get(memory) ?? gpu.resource(memory)),
          })),
          {
            binding: memory.length,
            resource: { buffer: this.#uniforms, offset: i * UNIFORM_ALIGNMENT, size: kernel.uniform.byteLength },
          },
        ],
      });
      return { name: kernel.name, pipeline, bindings, workgroups: kernel.workgroups };
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
   * @throws {RangeError} when the GPU has no timestamps.
   */
  async profile(): Promise<readonly LaunchTime[]> {
    const { device } = this.#gpu;
    if (!device.features.has("timestamp-query")) throw new RangeError("This GPU has no timestamps");
    const times: LaunchTime[] = [];
    for (let first = 0; first < this.#commands.length; first += PROFILED_AT_ONCE) {
      times.push(...await this.#profile(this.#commands.slice(first, first + PROFILED_AT_ONCE)));
    }
    return times;
  }

  async #profile(commands: readonly Command[]): Promise<readonly LaunchTime[]> {
    const { device } = this.#gpu;
    const count = 2 * commands.length;
    const querySet = device.createQuerySet({ type: "timestamp", count });
    const bytes = 8 * count;
    const resolved = device.createBuffer({
      size: bytes,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    const staging = device.createBuffer({ size: bytes, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    commands.forEach((command, i) => {
      const timestampWrites = { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 };
      const pass = encoder.beginComputePass({ timestampWrites });
      encode(pass, command);
      pass.end();
    });
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    this.#gpu.check();
    const ticks = new BigUint64Array(staging.getMappedRange().slice(0));
    for (const object of [querySet, resolved, staging]) object.destroy();
    return commands.map(({ name }, i) => ({ name, milliseconds: Number(ticks[2 * i + 1]! - ticks[2 * i]!) / 1e6 }));
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
function planMemory(
  gpu: Gpu,
  launches: readonly Launch[],
): { readonly resources: readonly Resource[]; readonly homes: ReadonlyMap<Memory, Resource> } {
  const last = new Map<Memory, number>();
  launches.forEach(({ memory }, i) => memory.forEach((memory) => last.set(memory, i)));
  const free: { layout: Layout; resource: Resource }[] = [];
  const homes = new Map<Memory, Resource>();
  const resources: Resource[] = [];
  launches.forEach(({ memory }, i) => {
    for (const wanted of memory) {
      if (wanted.kept || homes.has(wanted)) continue;
      const fits = free.filter((home) => sameHome(home.layout, wanted.layout));
      const best = fits.sort((a, b) => bytesOf(a.layout) - bytesOf(b.layout))[0];
      if (best) free.splice(free.indexOf(best), 1);
      const resource = best?.resource ?? gpu.allocate(wanted.layout, wanted.label);
      if (!best) resources.push(resource);
      homes.set(wanted, resource);
    }
    for (const done of new Set(memory)) {
      // A reused home keeps the layout it was made for: what matters next is what fits into it.
      if (!done.kept && last.get(done) === i) free.push({ layout: done.layout, resource: homes.get(done)! });
    }
  });
  return { resources, homes };
}
