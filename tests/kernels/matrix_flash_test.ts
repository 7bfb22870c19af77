import { assert, assertEquals } from "@std/assert";
import type { AttentionSpec } from "../../kernels/backend.ts";
import { bufferLayout, sampleColumns } from "../../kernels/buffer/layout.ts";
import { matrixFlash, type MatrixFlashTile, matrixFlashTiles } from "../../kernels/buffer/matrix_flash.ts";
import { hold, openDawn } from "../../kernels/dawn.ts";
import { TINT } from "../../kernels/dialect.ts";
import { Gpu } from "../../kernels/gpu.ts";
import type { Launch } from "../../kernels/launch.ts";
import { bufferBackends } from "../../kernels/mod.ts";
import { Program } from "../../kernels/program.ts";
import type { NumberArray } from "../../kernels/reference/array.ts";
import { attention } from "../../kernels/reference/attention.ts";
import { pixels, type Tensor } from "../../kernels/tensor.ts";
import { assertClose, dotTolerance, random } from "./harness.ts";

interface Case {
  readonly batch: number;
  readonly heads: number;
  readonly width: number;
  readonly queries: number;
  readonly keys: number;
}

const CASES: readonly Case[] = [
  { batch: 1, heads: 1, width: 8, queries: 1, keys: 1 },
  { batch: 1, heads: 2, width: 4, queries: 5, keys: 3 }, // Less than a matrix in every direction.
  { batch: 2, heads: 3, width: 12, queries: 33, keys: 9 }, // Samples that start at four, not at eight.
  { batch: 2, heads: 3, width: 7, queries: 70, keys: 100 },
  { batch: 2, heads: 2, width: 40, queries: 64, keys: 64 }, // Stable Diffusion 1.4 and its context of 77.
  { batch: 2, heads: 2, width: 40, queries: 130, keys: 77 },
  { batch: 2, heads: 1, width: 80, queries: 20, keys: 231 },
  { batch: 1, heads: 2, width: 160, queries: 64, keys: 77 },
  { batch: 1, heads: 2, width: 64, queries: 100, keys: 201 }, // Stable Diffusion XL.
];

/** The device has matrices on some drivers only. */
const { matrices, lanes } = await lookAtDevice();
const ignore = matrices.length === 0;

async function lookAtDevice() {
  await using gpu = await Gpu.open();
  return { matrices: gpu.subgroupSize ? gpu.matrices : [], lanes: gpu.subgroupSize ?? 0 };
}

function onMatrices(name: string, test: (gpu: Gpu, t: Deno.TestContext) => Promise<void>): void {
  const reason = ignore ? " (ignored: this device has no matrices)" : "";
  Deno.test({
    name: `flash attention on matrices ${name}${reason}`,
    ignore,
    async fn(t) {
      await using gpu = await Gpu.open();
      await test(gpu, t);
      await gpu.finish();
    },
  });
}

/** Channels of the memory before and after those of a tensor. */
const AROUND = 3;

/** `x` as some rows of memory of float16 that holds NaN everywhere else. */
function halfTensor(gpu: Gpu, x: NumberArray): Tensor {
  const { batch, channels } = x;
  const layout = bufferLayout(channels + 2 * AROUND, batch, pixels(x as unknown as Tensor), "f16");
  const memory = { layout, label: "test", kept: true };
  const data = new Float16Array(layout.bytes / 2).fill(NaN);
  eachValue(x, layout.stride, (value, at) => data[at] = x.values[value]!);
  gpu.write(memory, new Uint8Array(data.buffer));
  return { ...x, memory, firstRow: AROUND };
}

function eachValue(
  { batch, channels, height, width }: Omit<NumberArray, "values">,
  stride: number,
  visit: (value: number, at: number) => void,
): void {
  const count = height * width;
  for (let i = 0; i < batch * channels * count; i++) {
    const [sample, channel, column] = [Math.floor(i / count / channels), Math.floor(i / count) % channels, i % count];
    visit(i, (AROUND + channel) * stride + sample * sampleColumns(count) + column);
  }
}

/** Runs what `launch` makes; fails where it writes rows outside of its output. */
async function run(
  gpu: Gpu,
  [q, k, v]: readonly [NumberArray, NumberArray, NumberArray],
  heads: number,
  launch: (spec: AttentionSpec) => Launch,
): Promise<NumberArray> {
  const out = halfTensor(gpu, { ...q, values: new Float64Array(q.values.length).fill(NaN) });
  const spec = { q: halfTensor(gpu, q), k: halfTensor(gpu, k), v: halfTensor(gpu, v), out, heads };
  const program = new Program(gpu, [launch(spec)]);
  program.run();
  const got = new Float16Array((await gpu.read(out.memory)).buffer);
  program.dispose();
  for (const { memory } of [spec.q, spec.k, spec.v, out]) gpu.free(memory);
  const layout = bufferLayout(q.channels + 2 * AROUND, q.batch, q.height * q.width, "f16");
  const inside = [AROUND * layout.stride, (AROUND + q.channels) * layout.stride] as const;
  assert([...got.subarray(0, inside[0]), ...got.subarray(inside[1])].every(Number.isNaN), "rows outside are written");
  const values = new Float64Array(q.values.length);
  eachValue(q, layout.stride, (value, at) => values[value] = got[at]!);
  return { ...q, values };
}

function inputs(
  { batch, heads, width, queries, keys }: Case,
  scale = (_channel: number, _key: number) => 1,
): [NumberArray, NumberArray, NumberArray] {
  const [q, k, v] = [queries, keys, keys].map((tokens, i) => {
    const x = random(i, batch, heads * width, tokens, 1);
    const scaled = (at: number) => i === 1 ? x.values[at]! * scale(Math.floor(at / keys), at % keys) : x.values[at]!;
    return { ...x, values: Float64Array.from(Float16Array.from(x.values, (_, at) => scaled(at))) };
  });
  return [q!, k!, v!];
}

/** Probabilities and results are rounded to float16, and small ones to its subnormal numbers. */
function tolerance({ width, keys }: Case, factor = 1): number {
  return 3 * 2 ** -11 + keys * 2 ** -25 + 4 * factor * dotTolerance(width) / Math.sqrt(width);
}

function tilesFor(gpu: Gpu, width: number): readonly MatrixFlashTile[] {
  const { maxComputeInvocationsPerWorkgroup: threads, maxComputeWorkgroupStorageSize: workgroupBytes } =
    gpu.device.limits;
  return matrices.flatMap((shape) => matrixFlashTiles(width, { unit: { shape, lanes }, threads, workgroupBytes }));
}

async function compare(gpu: Gpu, shape: Case, tiles: readonly MatrixFlashTile[]): Promise<void> {
  const arrays = inputs(shape);
  const want = attention(...arrays, shape);
  for (const tile of tiles) {
    const got = await run(gpu, arrays, shape.heads, (spec) => matrixFlash(spec, tile));
    assertClose(got, want, tolerance(shape), JSON.stringify(tile));
  }
}

onMatrices("equals the reference", async (gpu, t) => {
  for (const shape of CASES) {
    await t.step(JSON.stringify(shape), () => compare(gpu, shape, tilesFor(gpu, shape.width).slice(0, 1)));
  }
});

onMatrices("equals the reference with every tile", async (gpu) => {
  const shape = { batch: 2, heads: 1, width: 20, queries: 150, keys: 83 };
  await compare(gpu, shape, tilesFor(gpu, shape.width));
});

onMatrices("follows maxima that grow, and large scores", async (gpu, t) => {
  const shape = { batch: 1, heads: 2, width: 40, queries: 50, keys: 300 };
  const scales: Readonly<Record<string, readonly [most: number, scale: (channel: number, key: number) => number]>> = {
    // Rows grow at different turns, by more and by less than what is scaled at once.
    "growing": [60, (_, key) => key / 5],
    "shrinking": [60, (_, key) => 60 - key / 5],
    "large": [2000, () => 2000],
  };
  for (const [name, [most, scale]] of Object.entries(scales)) {
    await t.step(name, async () => {
      const arrays = inputs(shape, scale);
      const [tile] = tilesFor(gpu, shape.width);
      const got = await run(gpu, arrays, shape.heads, (spec) => matrixFlash(spec, tile!));
      assertClose(got, attention(...arrays, shape), tolerance(shape, most), name);
    });
  }
});

onMatrices("is what the backend of float16 runs first, where it fits", async (gpu) => {
  const { half } = bufferBackends(gpu);
  const shape = { batch: 2, heads: 2, width: 40, queries: 64, keys: 64 };
  const arrays = inputs(shape);
  const names: string[] = [];
  const got = await run(gpu, arrays, shape.heads, (spec) => {
    const ways = half.flashAttention(spec);
    names.push(...ways.map(({ kernels }) => kernels));
    return ways[0]!.launches()[0]!;
  });
  assertEquals(names, ["flash on matrices", "flash"]);
  assertClose(got, attention(...arrays, shape), tolerance(shape), "attention");
});

const folder = Deno.env.get("DENOISE_DAWN");

Deno.test({
  name: `flash attention on matrices compiles for each kind of matrix${folder ? "" : " (ignored: no Dawn)"}`,
  ignore: folder === undefined,
  async fn() {
    const dawn = await openDawn(folder!, ["backend=null"]);
    const adapter = (await dawn.requestAdapter())!;
    const requiredFeatures = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"] as GPUFeatureName[];
    const device = await adapter.requestDevice({ requiredFeatures });
    [adapter, device].forEach(hold);
    // NVIDIA and AMD, Intel, Apple.
    const kinds = [[16, 16, 16, 32], [16, 16, 16, 64], [16, 8, 16, 32], [8, 16, 16, 16], [8, 8, 8, 32]] as const;
    for (const [m, n, k, lanes] of kinds) {
      for (const width of [12, 64]) {
        const tiles = matrixFlashTiles(width, {
          unit: { shape: { m, n, k }, lanes },
          threads: 1024,
          workgroupBytes: 49152,
        });
        assert(tiles.length > 0);
        for (const tile of tiles) {
          const x: Tensor = {
            ...{ batch: 1, channels: width, height: 9, width: 1, firstRow: 0 },
            memory: { layout: bufferLayout(width, 1, 9, "f16"), label: "test", kept: true },
          };
          const { kernel } = matrixFlash({ q: x, k: x, v: x, out: x, heads: 1 }, tile);
          const { messages } = await device.createShaderModule({ code: TINT(kernel.wgsl) }).getCompilationInfo();
          assertEquals(messages.map(({ lineNum, message }) => `${lineNum}: ${message}`), []);
        }
      }
    }
    device.destroy();
  },
});
