/**
 * Launches: kernels with the memory that they bind, the operation that they are part of, and how one is put together.
 * @module
 */
import { type BufferPort, type Kernel, kernel, type KernelParts, type Port } from "./kernel.ts";
import type { Memory } from "./tensor.ts";

/** A kernel and the memory of each of its ports, in order. */
export interface Launch {
  readonly kernel: Kernel;
  readonly memory: readonly Memory[];
  readonly work?: Work;
}

/** One operation of a recording: what it is worth is counted by its definition, whatever its kernels do. */
export interface Operation {
  readonly operation: string;
  readonly elements: string;
  readonly flops: number;
  readonly bytes: number;
}

/** An operation and what performs it, for profiles. */
export interface Work extends Operation {
  readonly kernels: string;
  /** How they were chosen; absent where nothing else could run. */
  readonly by?: "table" | "timing";
}

export interface Way {
  /** The name in profiles and kept timings. */
  readonly kernels: string;
  /** Throws a RangeError or a GpuMemoryError for shapes that it cannot run. */
  readonly launches: () => readonly Launch[];
}

/** Something that a kernel binds: ports, their memory, and the sizes and the WGSL that reach it. */
export interface Operands {
  readonly ports: readonly Port[];
  readonly memory: readonly Memory[];
  readonly sizes: Readonly<Record<string, number>>;
  readonly text: string;
}

export function joinOperands(...operands: readonly Operands[]): Operands {
  return {
    ports: operands.flatMap(({ ports }) => ports),
    memory: operands.flatMap(({ memory }) => memory),
    sizes: Object.assign({}, ...operands.map(({ sizes }) => sizes)),
    text: operands.map(({ text }) => text).join("\n"),
  };
}

/** A buffer of elements of a WGSL type, which the kernel indexes itself. */
export function bufferOperand(
  name: string,
  memory: Memory,
  element: string,
  access: BufferPort["access"] = "read",
): Operands {
  return { ports: [{ kind: "buffer", name, access, element }], memory: [memory], sizes: {}, text: "" };
}

/** A launch of a kernel with the ports, sizes and texts of its operands. */
export function launch(
  { operands, sizes, body, ...rest }: Omit<KernelParts, "ports"> & { readonly operands: readonly Operands[] },
): Launch {
  const bound = joinOperands(...operands);
  const parts = { ...rest, ports: bound.ports, sizes: { ...bound.sizes, ...sizes }, body: `${bound.text}\n${body}` };
  return { kernel: kernel(parts), memory: bound.memory };
}
