/**
 * A kernel is a value: WGSL text, the ports it binds, the numbers it is given and how many workgroups run it.
 * Nothing here touches a device.
 * @module
 */

/** A storage texture of four values a texel: what software adapters read fastest. */
export interface TexturePort {
  readonly kind: "texture";
  readonly name: string;
  readonly access: "read" | "write";
  readonly format: TextureFormat;
}

export interface BufferPort {
  readonly kind: "buffer";
  readonly name: string;
  readonly access: "read" | "read_write";
  /** WGSL type of one element, such as `vec4<f32>`. */
  readonly element: string;
}

/** One binding of a kernel; its place in {@link Kernel.ports} is its binding number. */
export type Port = TexturePort | BufferPort;

/** Texel formats in use; shaders see both as `vec4<f32>`. */
export type TextureFormat = "rgba32float" | "rgba16float";

/** One launch, complete but for the memory of its ports. */
export interface Kernel {
  /** Short name for profiles and error messages. */
  readonly name: string;
  /** The whole shader; equal texts share one pipeline, whatever their shapes. */
  readonly wgsl: string;
  /** Bindings in order; the uniform block of sizes follows them. */
  readonly ports: readonly Port[];
  /** Values of the uniform block `size`: integers are `i32`, see {@link KernelParts.values} for `f32`. */
  readonly uniform: Uint8Array<ArrayBuffer>;
  /** Workgroups to launch in x, y and z, each at most 65,535. */
  readonly workgroups: readonly [x: number, y: number, z: number];
}

export interface KernelParts {
  readonly name: string;
  readonly ports: readonly Port[];
  /** Integers that the text reads as `size.NAME: i32`: shapes, strides, counts. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Numbers that the text reads as `size.NAME: f32`. */
  readonly values?: Readonly<Record<string, number>>;
  /** The text after the declarations, with `main`. */
  readonly body: string;
  /** Whether the text computes in float16; ports of float16 say so themselves. */
  readonly half?: boolean;
  readonly workgroups: readonly [x: number, y: number, z: number];
}

function declaration(port: Port, binding: number): string {
  const type = port.kind === "texture"
    ? `var ${port.name}: texture_storage_2d<${port.format}, ${port.access}>`
    : `var<storage, ${port.access}> ${port.name}: array<${port.element}>`;
  return `@group(0) @binding(${binding}) ${type};`;
}

/**
 * Completes a kernel: declares its ports and its uniform block, so that text and bindings cannot disagree.
 * Sizes travel in a uniform block, not in the text: a model has dozens of shapes, and each new text costs a
 * compilation (0.1-0.6 s).
 *
 * @throws {RangeError} when a workgroup count is not a whole number from 1 to 65,535 or a size not a 32-bit integer.
 */
export function kernel(parts: KernelParts): Kernel {
  for (const count of parts.workgroups) {
    if (!Number.isInteger(count) || count < 1 || count > 65535) {
      throw new RangeError(`Kernel ${parts.name} asks for ${parts.workgroups.join(" x ")} workgroups`);
    }
  }
  const values = parts.values ?? {};
  const half = parts.half || parts.ports.some((port) => port.kind === "buffer" && port.element.includes("f16"));
  const fields = [
    ...Object.keys(parts.sizes).map((name) => `  ${name}: i32,`),
    ...Object.keys(values).map((name) => `  ${name}: f32,`),
  ];
  const header = [
    ...(half ? ["enable f16;"] : []),
    `struct Size {\n${fields.join("\n")}\n}`,
    ...parts.ports.map(declaration),
    `@group(0) @binding(${parts.ports.length}) var<uniform> size: Size;`,
  ];
  return {
    name: parts.name,
    wgsl: `${header.join("\n")}\n${parts.body}`,
    ports: parts.ports,
    uniform: packUniform(parts.name, parts.sizes, values),
    workgroups: parts.workgroups,
  };
}

function packUniform(
  name: string,
  sizes: Readonly<Record<string, number>>,
  values: Readonly<Record<string, number>>,
): Uint8Array<ArrayBuffer> {
  const integers = Object.entries(sizes);
  const count = integers.length + Object.keys(values).length;
  const view = new DataView(new ArrayBuffer(Math.max(16, Math.ceil(count / 4) * 16)));
  integers.forEach(([key, value], i) => {
    if (value !== (value | 0)) throw new RangeError(`Size ${key} of kernel ${name} is ${value}, not a 32-bit integer`);
    view.setInt32(4 * i, value, true);
  });
  Object.values(values).forEach((value, i) => view.setFloat32(4 * (integers.length + i), value, true));
  return new Uint8Array(view.buffer);
}

/** `count` pieces of text made by `make(0)`, `make(1)`, ..., a line each: how unrolled code is written. */
export function unroll(count: number, make: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => make(i)).join("\n");
}
