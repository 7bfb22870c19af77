import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Backend, StoredType } from "../../kernels/backend.ts";
import { bufferBackend } from "../../kernels/buffer/mod.ts";
import { Gpu } from "../../kernels/gpu.ts";
import type { Layer } from "../../kernels/layer.ts";
import { Ops } from "../../kernels/ops.ts";
import { hostStaging } from "../../kernels/staging.ts";
import type { Memory } from "../../kernels/tensor.ts";
import type { StoredWeights } from "../../kernels/upload.ts";
import type { TensorInfo } from "../../weights/mod.ts";
import { BYTES_PER_ELEMENT } from "../../weights/tensor_source.ts";
import { readValues, type Values } from "../../weights/values.ts";
import { BACKENDS, uniform } from "../kernels/harness.ts";

/** Textures, packed on the host; buffers with float16 as a type of its own, and in pairs. */
const ALL: Readonly<Record<string, Backend>> = {
  texture: BACKENDS[0]!,
  buffer: BACKENDS[1]!,
  "buffer of pairs": bufferBackend(),
};

/** Weights of `out` outputs in a file, their bytes `from(i)`. */
function stored(type: StoredType, out: number, row: number, from: (byte: number) => number): StoredWeights {
  const bytes = Uint8Array.from({ length: out * row * BYTES_PER_ELEMENT[type] }, (_, i) => from(i));
  const info: TensorInfo = { name: "a", dtype: type, shape: [out, row], bytes: bytes.length };
  const read = (begin: number, into: Uint8Array<ArrayBuffer>) => {
    into.set(bytes.subarray(begin, begin + into.length));
    return into;
  };
  const source = {
    label: "test",
    tensors: new Map([["a", info]]),
    read: (_: string, { begin = 0, into = new Uint8Array() } = {}) => read(begin, into),
  };
  return {
    out,
    type,
    read: (begin, into) => Promise.resolve(read(begin, into)),
    values: (into: Values) => readValues(source, "a", into),
  };
}

interface Shape {
  readonly in: number;
  readonly taps: number;
  readonly half: boolean;
}

/** A layer's memory as bits, NaN as one of them, after its weights came from `parts`. */
async function uploaded(ops: Ops, shape: Shape, parts: readonly StoredWeights[]): Promise<readonly number[]> {
  const layer = ops.emptyLayer({ ...shape, out: outputs(parts) });
  await ops.fill([{ layer, half: shape.half, parts }]);
  return await bitsOf(ops, layer, shape.half);
}

/** The same by {@link Ops.layer}, which packs on the host. */
async function packed(ops: Ops, shape: Shape, parts: readonly StoredWeights[]): Promise<readonly number[]> {
  const row = shape.in * shape.taps;
  const data = new (shape.half ? Uint16Array : Float32Array)(outputs(parts) * row);
  let end = 0;
  for (const part of parts) part.values(data.subarray(end, end += part.out * row));
  return await bitsOf(ops, ops.layer({ ...shape, out: outputs(parts), data }), shape.half);
}

function outputs(parts: readonly StoredWeights[]): number {
  return parts.reduce((sum, { out }) => sum + out, 0);
}

async function bitsOf({ gpu }: Ops, { weights: { memory } }: Layer, half: boolean): Promise<readonly number[]> {
  const { buffer } = await gpu.read(memory);
  gpu.free(memory);
  const isNaN = half ? (bits: number) => (bits & 0x7fff) > 0x7c00 : (bits: number) => (bits & 0x7fffffff) > 0x7f800000;
  return Array.from(half ? new Uint16Array(buffer) : new Uint32Array(buffer), (bits) => isNaN(bits) ? -1 : bits);
}

function assertSame(got: readonly number[], want: readonly number[], what: string): void {
  assertEquals(got.length, want.length, what);
  const first = got.findIndex((bits, i) => bits !== want[i]);
  assertEquals(first, -1, `${what}: ${got[first]?.toString(16)} instead of ${want[first]?.toString(16)}`);
}

const TYPES = ["F16", "BF16", "F32"] as const;

for (const [name, backend] of Object.entries(ALL)) {
  Deno.test(`${name}: weights that are read from files become the bits that packing on the host gives`, async () => {
    await using gpu = await Gpu.open();
    const ops = new Ops(gpu, backend);
    const next = uniform(1);
    const byte = () => Math.floor(128 * (next() + 1));
    for (const half of [false, true]) {
      for (const [inputs, taps] of [[1, 1], [5, 9], [70, 1], [4, 9]] as const) {
        const shape = { in: inputs, taps, half };
        // One tensor, and several of odd numbers of outputs and different types in one layer.
        for (const outs of [[1], [33], [64], [3, 1, 6], [7, 5, 1, 1]]) {
          for (const first of TYPES.keys()) {
            const parts = outs.map((out, i) => stored(TYPES[(first + i) % 3]!, out, inputs * taps, byte));
            const what = `${parts.map(({ type, out }) => `${type} ${out}`)} of ${inputs} x ${taps}, half ${half}`;
            assertSame(await uploaded(ops, shape, parts), await packed(ops, shape, parts), what);
          }
        }
      }
    }
  });

  Deno.test(`${name}: a product is added to weights in float32 before they are rounded`, async () => {
    await using gpu = await Gpu.open();
    const ops = new Ops(gpu, backend);
    const next = uniform(3);
    for (const half of [false, true]) {
      for (const type of TYPES) {
        const [inputs, taps, rank] = [5, 9, 3];
        const row = inputs * taps;
        // Half of these bytes' values are 0.5 to 2.
        const plain = (out: number) =>
          stored(type, out, row, (i) => (i & 1) === 1 ? 0x3c : Math.floor(128 * (next() + 1)));
        const parts = [7, 2, 70].map((out, i): StoredWeights => {
          const part = plain(out);
          if (i === 1) return part;
          const [up, down] = [out * rank, rank * row].map((count) => Float32Array.from({ length: count }, next));
          const base = new Float32Array(out * row);
          part.values(base);
          const sums = base.map((value, at) => {
            const [o, place] = [Math.floor(at / row), at % row];
            return value + [0, 1, 2].reduce((sum, r) => sum + up![o * rank + r]! * down![r * row + place]!, 0);
          });
          return {
            ...part,
            plus: () => ({ rank, up: up!, down: down! }),
            values: (into) =>
              (into instanceof Float32Array ? into : new Float16Array(into.buffer, into.byteOffset, into.length)).set(
                sums,
              ),
          };
        });
        const shape = { in: inputs, taps, half };
        const [got, want] = [await uploaded(ops, shape, parts), await packed(ops, shape, parts)];
        const numbers = (bits: readonly number[]) =>
          half
            ? new Float32Array(new Float16Array(Uint16Array.from(bits).buffer))
            : new Float32Array(Uint32Array.from(bits).buffer);
        const [a, b] = [numbers(got), numbers(want)];
        // Sums in another order: the last bit may differ.
        const worst = a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!) / (1 + Math.abs(b[i]!))), 0);
        assert(worst < (half ? 1e-3 : 1e-6), `${type}, half ${half}: ${worst}`);
      }
    }
  });

  Deno.test(`${name}: every half and bfloat16 is converted as on the host, and singles around where rounding turns`, async () => {
    await using gpu = await Gpu.open();
    const ops = new Ops(gpu, backend);
    const bytesOf = ({ buffer }: Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => new Uint8Array(buffer);
    const patterns = bytesOf(Uint16Array.from({ length: 65536 }, (_, i) => i));
    // Next to the middle between any half and the one after it, of both signs.
    const singles = bytesOf(Uint32Array.from({ length: 2 * 3 * 0x8000 }, (_, i) => {
      const half = new Float16Array(Uint16Array.of(i >> 1 & 0x7fff).buffer)[0]!;
      const above = new Float16Array(Uint16Array.of((i >> 1 & 0x7fff) + 1).buffer)[0]!;
      const middle = new Uint32Array(Float32Array.of((half + Math.min(above, 65536)) / 2).buffer)[0]!;
      return ((i & 1) << 31 | middle + (i >> 16) - 1) >>> 0;
    }));
    const cases = [["F16", patterns], ["BF16", patterns], ["F32", singles]] as const;
    for (const half of [false, true]) {
      for (const [type, bytes] of cases) {
        const out = 512;
        const row = bytes.length / BYTES_PER_ELEMENT[type] / out;
        const parts = [stored(type, out, row, (i) => bytes[i]!)];
        const shape = { in: row, taps: 1, half };
        assertSame(await uploaded(ops, shape, parts), await packed(ops, shape, parts), `${type}, half ${half}`);
      }
    }
  });
}

Deno.test("weights larger than a piece arrive in pieces, and an output that does not fit into one is refused", async () => {
  await using gpu = await Gpu.open();
  const ops = new Ops(gpu, ALL.buffer!);
  const shape = { in: 9001, taps: 1, half: false };
  const parts = [70, 401].map((out, part) =>
    stored("F32", out, shape.in, (i) => i % 4 === 3 ? 0x3f : i >> part & 0xff)
  );
  const rooms = new Map<ArrayBuffer, number>();
  const watched = parts.map((part): StoredWeights => ({
    ...part,
    async read(begin, into) {
      rooms.set(into.buffer, into.buffer.byteLength);
      // The first pieces are there last.
      for (let turns = 4 - rooms.size; turns > 0; turns--) await new Promise((resolve) => setTimeout(resolve));
      return await part.read(begin, into);
    },
  }));
  assertSame(await uploaded(ops, shape, watched), await packed(ops, shape, parts), "three pieces");
  assertEquals(rooms.size, 3);
  assertEquals(new Set(rooms.values()), new Set([8 << 20]));
  assertEquals(gpu.bytes, 0);
  const large = { out: 1, in: 3 << 20, taps: 1, half: false };
  const filling = { layer: ops.emptyLayer(large), half: false, parts: [stored("F32", 1, large.in, () => 0)] };
  await assertRejects(() => ops.fill([filling]), RangeError, "An output of 12582912 bytes is larger than a piece");
});

Deno.test("rooms on the host are used again once they were sent", async () => {
  const sent: number[][] = [];
  await using staging = hostStaging((_, bytes) => void sent.push([...bytes]), 8);
  const memory: Memory = { layout: { kind: "buffer", element: "u32", stride: 2, bytes: 8 }, label: "test", kept: true };
  const rooms = new Set<ArrayBuffer>();
  for (const first of [1, 3, 5]) {
    for (const value of [first, first + 1]) {
      const room = await staging.take();
      rooms.add(room.buffer);
      room.fill(value);
    }
    staging.send(memory, 4);
    staging.send(memory, 8);
  }
  assertEquals(sent, [1, 2, 3, 4, 5, 6].map((value) => Array(value % 2 === 1 ? 4 : 8).fill(value)));
  assertEquals(rooms.size, 2);
});

Deno.test("a file that fails fails the upload, whichever piece it is, and nothing is left behind", async () => {
  const [inputs, out] = [1 << 15, 160];
  const whole = stored("F32", out, inputs, () => 0);
  for (const backend of Object.values(ALL)) {
    for (const broken of [0, 1, 2]) {
      await using gpu = await Gpu.open();
      const ops = new Ops(gpu, backend);
      let pieces = 0;
      const fail = () => {
        throw new Error("unplugged");
      };
      const part: StoredWeights = {
        ...whole,
        async read(begin, into) {
          const piece = pieces++;
          await new Promise((resolve) => setTimeout(resolve));
          return await (piece === broken ? fail() : whole.read(begin, into));
        },
        values: fail,
      };
      const layer = ops.emptyLayer({ out, in: inputs, taps: 1, half: true });
      await assertRejects(() => ops.fill([{ layer, half: true, parts: [part] }]), Error, "unplugged");
      gpu.free(layer.weights.memory);
      assertEquals(gpu.bytes, 0);
    }
  }
});
