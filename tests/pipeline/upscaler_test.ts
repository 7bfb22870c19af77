import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Gpu, type Tensor } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import { enlarge, readEsrgan } from "../../pipeline/nets/esrgan.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import type { Image } from "../../pipeline/request.ts";
import { recordTiled } from "../../pipeline/tiled_program.ts";
import { openUpscaler, refuseSize, Upscaler } from "../../pipeline/upscaler.ts";
import { ModelFileError, openUpscalerTensors, type UpscalerFile } from "../../weights/mod.ts";
import { readGolden } from "../golden.ts";
import { BACKENDS, randomValues } from "../kernels/harness.ts";
import { withFile } from "../weights/safetensors_bytes.ts";
import { upscalerFile, type UpscalerName } from "../weights/upscaler_file.ts";
import { assertStage, psnr } from "./stages.ts";

const GOLDEN = readGolden("fixtures/esrgan/cases.safetensors");

const FOLDER = Deno.makeTempDirSync();
globalThis.addEventListener("unload", () => Deno.removeSync(FOLDER, { recursive: true }));

function openTiny(name: UpscalerName, dtype: "F16" | "F32" = "F32"): UpscalerFile {
  const path = `${FOLDER}/${name}-${dtype}.safetensors`;
  Deno.writeFileSync(path, upscalerFile(name, { dtype }));
  return openUpscaler(path);
}

const [HEIGHT, WIDTH] = GOLDEN.get("image")!.shape as [number, number];
const IMAGE: Image = { height: HEIGHT, width: WIDTH, pixels: Uint8Array.from(GOLDEN.get("image")!.data) };

/** A picture of smooth shapes with sharp edges. */
function drawn(width: number, height: number): Image {
  const pixels = Uint8Array.from({ length: 3 * width * height }, (_, i) => {
    const [x, y, colour] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
    return ((x >> 4) + (y >> 3)) % 2 === 0 ? 128 + 100 * Math.sin(x / 9 + colour) * Math.cos(y / 7) : 40 * colour + 60;
  });
  return { width, height, pixels };
}

for (const backend of BACKENDS) {
  for (const name of ["x4", "x2", "old"] as const) {
    Deno.test(`upscaler ${name}: PyTorch's picture, ${backend.name} kernels`, async () => {
      await using gpu = await Gpu.open();
      const file = openTiny(name);
      const { shape, data } = GOLDEN.get(name)!;
      if (name !== "x2") {
        const ops = new Ops(gpu, backend);
        using source = openUpscalerTensors(file);
        const parameters = new Parameters(ops, source);
        const weights = readEsrgan(parameters, file.config);
        await parameters.load();
        const x = ops.keep({ batch: 1, channels: 3, height: HEIGHT, width: WIDTH }, "picture");
        const y = ops.keep({ batch: 1, channels: 3, height: shape[1]!, width: shape[2]! }, "larger");
        const count = HEIGHT * WIDTH;
        const pixel = (i: number) => IMAGE.pixels[(i % count) * 3 + Math.floor(i / count)]! / 255;
        ops.write(x, Float32Array.from({ length: 3 * count }, (_, i) => pixel(i)));
        const program = ops.record(() => ops.copy(enlarge(ops, weights, x), y));
        program.run();
        assertStage(name, (await ops.read(y)).map((value) => value / 2 + 0.5), data);
      }
      using upscaler = await Upscaler.load(gpu, file, { backends: { exact: backend, half: backend } });
      const { width, height, pixels } = await upscaler.enlarge(IMAGE);
      assertEquals([3, height, width], shape);
      const count = width * height;
      const want = Uint8Array.from(
        pixels,
        (_, i) => Math.min(1, Math.max(0, data[i % 3 * count + Math.floor(i / 3)]!)) * 255 + 0.5,
      );
      assert(psnr(pixels, want) >= 55, `${psnr(pixels, want)} dB`);
    });
  }
}

const SIZES: readonly (readonly [UpscalerName, readonly [width: number, height: number]])[] = [
  ["x4", [300, 40]],
  ["x2", [41, 601]],
];

Deno.test("tiles show no seam: the picture is that of the whole", async () => {
  await using gpu = await Gpu.open();
  for (const [name, size] of SIZES) {
    const file = openTiny(name);
    using upscaler = await Upscaler.load(gpu, file);
    const image = drawn(...size);
    const told: string[] = [];
    const onTile = (done: number, tiles: number) => told.push(`${done} of ${tiles}`);
    const whole = await upscaler.enlarge(image, { onTile });
    const tiled = await upscaler.enlarge(image, { onTile, tiling: "on" });
    assertEquals(told, ["1 of 1", "1 of 2", "2 of 2"]);
    assertEquals([tiled.width, tiled.height], size.map((side) => side * file.scale));
    const most = whole.pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - tiled.pixels[i]!)), 0);
    assert(most <= 1, `${name}: a value differs by ${most}`);
  }
});

Deno.test("tiles whose margins hold all that a pixel depends on make the very values of the whole", async () => {
  await using gpu = await Gpu.open();
  const file = openTiny("x4");
  const ops = new Ops(gpu, BACKENDS[0]!);
  using source = openUpscalerTensors(file);
  const parameters = new Parameters(ops, source);
  // 15 pixels for one block, and three more.
  const weights = readEsrgan(parameters, { ...file.config, blocks: 1 });
  await parameters.load();
  const size = { height: 12, width: 200 };
  const values = Float32Array.from(randomValues(5, 3 * size.height * size.width), (value) => value / 2 + 0.5);
  const run = async (margin: number, tiling: "on" | "off") => {
    const net = {
      build: (ops: Ops, x: Tensor) => enlarge(ops, weights, x),
      from: { channels: 3, scale: 1 },
      to: { channels: 3, scale: 4 },
      tile: { side: 160, smallest: 160 },
      margin,
    };
    const program = await recordTiled(ops, net, { size, tiling });
    const result = await program.run(() => Promise.resolve(values));
    program.dispose();
    return result;
  };
  const whole = await run(0, "off");
  const furthest = (tiled: Float32Array) =>
    tiled.reduce((most, value, i) => Math.max(most, Math.abs(value - whole[i]!)), 0);
  // 18 of an overlap of 40.
  assert(furthest(await run(0.45, "on")) <= 1e-5);
  assert(furthest(await run(0, "on")) > 1e-4, "edges of tiles changed nothing");
});

Deno.test("float16 weights enlarge as float32 ones do, whatever the size", async () => {
  await using gpu = await Gpu.open();
  const exact = openTiny("x2");
  const half = openTiny("x2", "F16");
  using first = await Upscaler.load(gpu, exact);
  using second = await Upscaler.load(gpu, half);
  for (const [width, height] of [[1, 1], [1, 7], [8, 3]] as const) {
    const image = drawn(width, height);
    const [want, got] = [await first.enlarge(image), await second.enlarge(image)];
    assertEquals([got.width, got.height], [2 * width, 2 * height]);
    assert(psnr(got.pixels, want.pixels) >= 40, `${width}x${height}: ${psnr(got.pixels, want.pixels)} dB`);
  }
});

Deno.test("a picture that would be too large is refused before anything runs", async () => {
  assertEquals(refuseSize({ scale: 4 }, { width: 2048, height: 2048 }), undefined);
  const message = "2048x2049 pixels would become 8192x8196; at most 67108864 pixels are made";
  assertEquals(refuseSize({ scale: 4 }, { width: 2048, height: 2049 }), message);
  await using gpu = await Gpu.open();
  const file = openTiny("x4");
  using upscaler = await Upscaler.load(gpu, file);
  const image = { width: 2048, height: 2049, pixels: new Uint8Array() };
  await assertRejects(() => upscaler.enlarge(image), RangeError, message);
});

Deno.test("an upscaler's tensors are accounted for, every one", () => {
  const missing = upscalerFile("x4", { rename: (name) => name === "body.1.rdb3.conv5.bias" ? undefined : name });
  const extra = { "body.0.rdb1.conv1x1.weight": { dtype: "F32", shape: [1], bytes: new Uint8Array(4) } };
  for (
    const [bytes, message] of [
      [missing, "1 tensor is missing: body.1.rdb3.conv5.bias [8]"],
      [upscalerFile("x4", { more: extra }), '1 tensor is unknown: "body.0.rdb1.conv1x1.weight"'],
      [upscalerFile("x4", { rename: (name) => name.replace("rdb3.conv2.b", "rdb3.conv2.c") }), "2 tensors are missing"],
    ] as const
  ) {
    withFile(bytes, (path) => assertThrows(() => openUpscaler(path), ModelFileError, message));
  }
});

Deno.test("an upscaler gives back its memory, and is not loaded from a file that has changed", async () => {
  await using gpu = await Gpu.open();
  const file = openTiny("x2");
  {
    using upscaler = await Upscaler.load(gpu, file);
    await upscaler.enlarge(drawn(6, 4));
    assert(gpu.bytes > 0);
  }
  assertEquals(gpu.bytes, 0);
  Deno.writeFileSync(file.path, upscalerFile("x4", { dtype: "F16" }));
  await assertRejects(() => Upscaler.load(gpu, file), ModelFileError, "the file has changed since it was checked");
});
