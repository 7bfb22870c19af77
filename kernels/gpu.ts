/**
 * The GPU: memory, pipelines, transfers and errors. Only this file and device.ts touch WebGPU.
 * @module
 */
import { type AdapterInfo, type DeviceOptions, type MatrixShape, type OpenDevice, openDevice } from "./device.ts";
import type { Dialect } from "./dialect.ts";
import { GpuFailedError, GpuMemoryError } from "./errors.ts";
import type { Kernel } from "./kernel.ts";
import { Scratch } from "./scratch.ts";
import { hostStaging, mappedStaging, type Staging } from "./staging.ts";
import { fillFromDevices, fillShaderCache } from "./shader_cache.ts";
import { bytesOf, type Layout, type Memory, texelBytes } from "./tensor.ts";

/** Real memory: one texture or one buffer. */
export type Resource = { readonly texture: GPUTexture; readonly bytes: number } | {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
};

/** The largest binding that every graphics API can address (gfx-rs/wgpu#8105). */
const LARGEST_BINDING = 2 ** 31 - 4;

/**
 * Bytes to write before waiting for the GPU: wgpu copies what is written on the host and holds the copies until work is
 * submitted and done, so that loading a model would hold all of its weights. (1,927 MiB of weights on llvmpipe took
 * another 2,455 MiB; with a wait every 64 MiB 907, every 4 MiB 515.)
 */
const MOST_STAGED = 4 * 2 ** 20;

/**
 * Milliseconds within the calls that ask for pipelines from which it is clear that they are compiled there, and for the
 * first time: each takes 130 then on an H200, and all of Stable Diffusion's take 80 from the driver's cache.
 */
const SLOW = 250;

/**
 * The same of Dawn, which compiles elsewhere: of the longest text, 330 to 900 there, and 25 from the driver's cache. So
 * many pipelines must be missing that other devices are worth their opening.
 */
const SLOW_ONE = 100;
const LEAST_MISSING = 8;

/**
 * Bytes after a buffer's end that kernels may read where nothing checks their indices: the rest of a tile that hangs over
 * the last row. Nothing becomes of what lies there.
 */
const MOST_PAST_END = 4096;

/** The longest side of a texture that adapters of the texture backend offer. */
const LARGEST_SIDE = 16384;

/** A device with its pipelines and the memory that outlives a recording. */
export class Gpu implements AsyncDisposable {
  /** What it runs on. */
  readonly adapter: AdapterInfo;
  /** What a subgroup multiplies at once: float16 matrices summed in float32, the largest first; often none. */
  readonly matrices: readonly MatrixShape[];
  /** Lanes of every subgroup; undefined where they differ, or nobody tells. */
  readonly subgroupSize: number | undefined;
  /** @ignore */
  readonly device: GPUDevice;
  /** @ignore */
  readonly scratch: Scratch<Resource> = new Scratch<Resource>(this);
  readonly #dialect: Dialect;
  readonly #blocks: boolean;
  /** What it was opened with. */
  readonly #options: DeviceOptions;
  #resources = new Map<Memory, Resource>();
  #pipelines = new Map<string, GPUComputePipeline>();
  /** Those that {@link prepare} asked for. */
  readonly #coming = new Map<string, Promise<void>>();
  /** Spent within calls that ask for pipelines. */
  #compileMilliseconds = 0;
  #cacheFilled = false;
  /** What the device still has to answer. */
  readonly #pending = new Set<Promise<void>>();
  #pipelineMilliseconds = 0;
  #bytes = 0;
  #peakBytes = 0;
  #stagedBytes = 0;
  #failure: Error | undefined;
  #lost = false;

  private constructor(
    { device, adapter, matrices, subgroupSize, dialect, provider }: OpenDevice,
    options: DeviceOptions,
  ) {
    this.#options = { ...options, webgpu: provider };
    this.matrices = matrices;
    this.subgroupSize = subgroupSize;
    this.device = device;
    this.adapter = adapter;
    this.#dialect = dialect;
    this.#blocks = provider === "deno";
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#fail((event as GPUUncapturedErrorEvent).error);
    });
    device.lost.then((info) => {
      if (info.reason === "destroyed") return;
      this.#lost = true;
      this.#failure ??= new GpuFailedError(`The GPU was lost: ${info.message}`);
    });
  }

  /**
   * Opens the fastest GPU, with all that it has or only what `options` name.
   *
   * @throws {NoGpuError} when there is none.
   */
  static async open(options: DeviceOptions = {}): Promise<Gpu> {
    return new Gpu(await openDevice(options), options);
  }

  /** Most bytes of GPU memory held at once. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** Bytes of GPU memory held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Lets {@link Symbol.asyncDispose} wait for an answer. A device that is lost gives none, and says so itself. */
  #pend(answer: Promise<unknown>): void {
    const done = () => void this.#pending.delete(pending);
    const pending: Promise<void> = answer.then(done, done);
    this.#pending.add(pending);
  }

  #fail(error: GPUError): void {
    this.#failure ??= error.constructor.name === "GPUOutOfMemoryError"
      ? new GpuMemoryError(`Out of GPU memory with ${megabytes(this.#bytes)} in use: ${error.message}`)
      : new GpuFailedError(`The GPU refused a command: ${error.message}`);
  }

  /** A kernel that was refused says more than what followed from it. */
  #refuse(kernel: string, cause: { readonly message: string }): void {
    if (!this.#lost) this.#failure = new GpuFailedError(`Kernel ${kernel} was refused: ${cause.message}`, { cause });
  }

  /** Throws the first error that the device reported since it was opened. */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /**
   * Runs something that may fail without harm: an error that the device reports meanwhile is thrown here and then
   * forgotten, unless the GPU is lost.
   * @ignore
   */
  async attempt<T>(act: () => Promise<T>): Promise<T> {
    this.check();
    try {
      return await act();
    } finally {
      if (!this.#lost) this.#failure = undefined;
    }
  }

  /**
   * Bytes that memory would take.
   * @ignore
   * @throws {GpuMemoryError} when one binding cannot hold it.
   */
  measure(layout: Layout, label: string): number {
    const limit = Math.min(this.device.limits.maxStorageBufferBindingSize, LARGEST_BINDING);
    const bytes = bytesOf(layout);
    if (layout.kind === "buffer" && bytes > limit) {
      throw new GpuMemoryError(
        `Buffer ${label} needs ${megabytes(bytes)}; this GPU's largest binding is ${megabytes(limit)}`,
      );
    }
    return bytes;
  }

  /**
   * Makes memory real; it starts as zeros.
   * @ignore
   * @throws {GpuMemoryError} when one binding cannot hold it.
   */
  allocate(layout: Layout, label: string): Resource {
    const bytes = this.measure(layout, label);
    const resource: Resource = layout.kind === "texture"
      ? {
        texture: this.device.createTexture({
          label,
          size: [unevenSize(layout.width), unevenSize(layout.height)],
          format: layout.format,
          usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST | GPUTextureUsage.COPY_SRC,
        }),
        bytes,
      }
      : {
        buffer: this.device.createBuffer({
          label,
          size: this.#blocks ? bytes : bytes + MOST_PAST_END,
          usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
        }),
        bytes,
      };
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return resource;
  }

  /** @ignore */
  release(resource: Resource): void {
    if ("texture" in resource) resource.texture.destroy();
    else resource.buffer.destroy();
    this.#bytes -= resource.bytes;
  }

  /**
   * The resource of kept memory, allocated on first use.
   * @ignore
   */
  resource(memory: Memory): Resource {
    let resource = this.#resources.get(memory);
    if (!resource) {
      resource = this.allocate(memory.layout, memory.label);
      this.#resources.set(memory, resource);
    }
    return resource;
  }

  /**
   * Whether kept memory is real.
   * @ignore
   */
  holds(memory: Memory): boolean {
    return this.#resources.has(memory);
  }

  /** @ignore */
  free(memory: Memory): void {
    const resource = this.#resources.get(memory);
    if (resource) this.release(resource);
    this.#resources.delete(memory);
  }

  /**
   * Copies `data`, in the memory's own layout, to kept memory.
   * @ignore
   */
  write(memory: Memory, data: ArrayBufferView<ArrayBuffer>): void {
    const resource = this.resource(memory);
    const { layout } = memory;
    // Deno panics when a write's size is past the array (ext/webgpu/queue.rs), so sizes are checked here.
    if (data.byteLength > resource.bytes) {
      throw new RangeError(`${data.byteLength} bytes do not fit into the ${resource.bytes} of ${memory.label}`);
    }
    // Dawn divides by zero when it is given an array of float16, so it is given bytes.
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if ("buffer" in resource) this.device.queue.writeBuffer(resource.buffer, 0, bytes);
    else if (layout.kind === "texture") {
      const bytesPerRow = layout.width * texelBytes(layout.format);
      this.device.queue.writeTexture({ texture: resource.texture }, bytes, { bytesPerRow }, [
        layout.width,
        layout.height,
      ]);
    }
    this.#stagedBytes += data.byteLength;
    if (this.#stagedBytes < MOST_STAGED) return;
    this.device.queue.submit([]);
    // Deno waits inside the call; awaiting its promise here would only sleep.
    this.#pend(this.device.queue.onSubmittedWorkDone());
    this.#stagedBytes = 0;
  }

  /**
   * Rooms of some bytes for what is on its way to the GPU.
   * @ignore
   */
  stage(bytes: number): Staging {
    // Deno's own WebGPU fills mapped memory more slowly than it writes: 2 GB took 40 s (H200).
    if (this.#blocks) return hostStaging((memory, bytes) => this.write(memory, bytes), bytes);
    const bufferOf = (memory: Memory) => {
      const resource = this.resource(memory);
      if ("buffer" in resource) return resource.buffer;
      throw new TypeError(`${memory.label} is not a buffer`);
    };
    return mappedStaging({ device: this.device, bufferOf, check: () => this.check() }, bytes);
  }

  /**
   * The values of kept memory, in its own layout without row padding.
   * @ignore
   * @throws {GpuFailedError | GpuMemoryError} what the device reported meanwhile.
   */
  async read(memory: Memory): Promise<Float32Array<ArrayBuffer>> {
    const { layout } = memory;
    const resource = this.resource(memory);
    const width = layout.kind === "texture" ? layout.width * texelBytes(layout.format) : resource.bytes;
    const height = layout.kind === "texture" ? layout.height : 1;
    const pitch = layout.kind === "texture" ? Math.ceil(width / 256) * 256 : width;
    const staging = this.device.createBuffer({
      label: `${memory.label} on the host`,
      size: pitch * height,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    try {
      const encoder = this.device.createCommandEncoder();
      if ("buffer" in resource) encoder.copyBufferToBuffer(resource.buffer, 0, staging, 0, resource.bytes);
      else {
        encoder.copyTextureToBuffer({ texture: resource.texture }, { buffer: staging, bytesPerRow: pitch }, [
          layout.kind === "texture" ? layout.width : 0,
          height,
        ]);
      }
      this.device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ).catch((cause) => {
        this.check();
        throw new GpuFailedError(`The GPU did not finish: ${cause}`, { cause });
      });
      this.check();
      const bytes = new Uint8Array(width * height);
      const mapped = new Uint8Array(staging.getMappedRange());
      for (let row = 0; row < height; row++) {
        bytes.set(mapped.subarray(row * pitch, row * pitch + width), row * width);
      }
      return new Float32Array(bytes.buffer);
    } finally {
      staging.destroy();
    }
  }

  /**
   * The pipeline of a kernel; equal texts share one.
   * @ignore
   * @throws {GpuFailedError} when the shader does not compile, with the compiler's message.
   */
  pipeline(kernel: Kernel): GPUComputePipeline {
    let pipeline = this.#pipelines.get(kernel.wgsl);
    if (!pipeline) {
      const started = performance.now();
      this.device.pushErrorScope("validation");
      const module = this.device.createShaderModule({ label: kernel.name, code: this.#dialect(kernel.wgsl) });
      pipeline = this.device.createComputePipeline({
        label: kernel.name,
        layout: "auto",
        compute: { module, entryPoint: "main" },
      });
      this.#pend(
        this.device.popErrorScope().then((error) => {
          if (error) this.#refuse(kernel.name, error);
        }),
      );
      this.#pipelines.set(kernel.wgsl, pipeline);
      this.#pipelineMilliseconds += performance.now() - started;
    }
    return pipeline;
  }

  /**
   * Makes the pipelines of kernels that have none. All are asked for before the first is waited for; where the driver
   * never compiled them, other devices help, with those that come `later`, too.
   * @ignore
   * @throws {GpuFailedError} when a shader does not compile, with the compiler's message.
   */
  async prepare(kernels: readonly Kernel[], later: readonly Kernel[] = []): Promise<void> {
    const started = performance.now();
    const all = [...kernels, ...later];
    if (!this.#blocks) await this.#fillFor(all);
    for (const kernel of kernels) {
      if (this.#isAsked(kernel)) continue;
      this.#ask(kernel);
      if (this.#blocks && this.#compileMilliseconds >= SLOW) await this.#fill(fillShaderCache, all);
    }
    const coming = kernels.flatMap(({ wgsl }) => this.#coming.get(wgsl) ?? []);
    await Promise.all(coming);
    if (coming.length > 0) this.#pipelineMilliseconds += performance.now() - started;
    this.check();
  }

  /** Makes the longest text's pipeline, and lets other devices compile the others if that was slow. */
  async #fillFor(kernels: readonly Kernel[]): Promise<void> {
    const missing = kernels.filter((kernel) => !this.#isAsked(kernel));
    if (this.#cacheFilled || missing.length < LEAST_MISSING) return;
    const asked = performance.now();
    await this.#ask(missing.reduce((a, b) => a.wgsl.length >= b.wgsl.length ? a : b));
    if (performance.now() - asked < SLOW_ONE) return;
    await this.#fill((texts) => fillFromDevices(texts, this.#options), kernels);
  }

  /** Gives what is missing of `kernels` to other devices, once. */
  async #fill(compile: (texts: readonly string[]) => Promise<number>, kernels: readonly Kernel[]): Promise<void> {
    if (this.#cacheFilled || this.adapter.software) return;
    this.#cacheFilled = true;
    const missing = kernels.filter((kernel) => !this.#isAsked(kernel));
    await compile([...new Set(missing.map(({ wgsl }) => wgsl))]);
  }

  #ask(kernel: Kernel): Promise<void> {
    const { wgsl } = kernel;
    const made = this.#make(kernel).finally(() => this.#coming.delete(wgsl));
    this.#coming.set(wgsl, made);
    return made;
  }

  #isAsked({ wgsl }: Kernel): boolean {
    return this.#pipelines.has(wgsl) || this.#coming.has(wgsl);
  }

  async #make({ name, wgsl }: Kernel): Promise<void> {
    this.device.pushErrorScope("validation");
    const module = this.device.createShaderModule({ label: name, code: this.#dialect(wgsl) });
    const refused = this.device.popErrorScope();
    const compute = { module, entryPoint: "main" };
    const asked = performance.now();
    const made = this.device.createComputePipelineAsync({ label: name, layout: "auto", compute });
    this.#compileMilliseconds += performance.now() - asked;
    this.#pend(made);
    // The compiler's message says more than that of the pipeline, which fails with it.
    const [error, pipeline] = await Promise.all([refused, made.catch((cause: Error) => cause)]);
    const cause = error ?? (pipeline instanceof Error ? pipeline : undefined);
    if (cause) this.#refuse(name, cause);
    else this.#pipelines.set(wgsl, pipeline as GPUComputePipeline);
  }

  /** Pipelines made so far. */
  get pipelines(): number {
    return this.#pipelines.size;
  }

  /** Time spent making them; a driver may leave some of the work to the first launch. */
  get pipelineMilliseconds(): number {
    return this.#pipelineMilliseconds;
  }

  /**
   * Waits until all work that was submitted before the call is done. Costs at least 10 ms with Deno's own WebGPU, however
   * little the work.
   *
   * @returns when it was done, as `performance.now()` counts.
   * @throws {GpuFailedError | GpuMemoryError} what the device reported meanwhile.
   */
  async finish(): Promise<number> {
    const finished = this.device.queue.onSubmittedWorkDone();
    // Deno's own waits for the GPU inside the call and sleeps 10 ms inside the await.
    const called = performance.now();
    await finished;
    this.check();
    return this.#blocks ? called : performance.now();
  }

  /** Gives all memory back and closes the device. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#pending);
    for (const resource of this.#resources.values()) this.release(resource);
    this.#resources.clear();
    this.device.destroy();
  }
}

/**
 * A texture's side, one texel longer where it is a power of two: llvmpipe compiles a shader again for each combination
 * of sides that are and are not (of the embedded model's 36 shaders: 25 s the first time, 14 with one kind of side).
 * Two is a power as well, so one becomes three.
 */
function unevenSize(side: number): number {
  if (side === 1) return 3;
  const power = (side & (side - 1)) === 0;
  return power && side < LARGEST_SIDE ? side + 1 : side;
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

export function bindingOf(resource: Resource): GPUBindingResource {
  return "texture" in resource ? resource.texture.createView() : { buffer: resource.buffer };
}
