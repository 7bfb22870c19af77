import { assert, assertEquals, assertRejects } from "@std/assert";
import { GpuFailedError, GpuMemoryError } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import { bytesOf, type Layout } from "../../kernels/tensor.ts";
import { Decoder } from "../../pipeline/decoder.ts";
import { readVaeConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { readDecoder, readEncoder, type VaeWeights } from "../../pipeline/nets/vae.ts";
import type { VaeTiling } from "../../pipeline/request.ts";
import type { TiledProgram } from "../../pipeline/tiled_program.ts";
import { recordDecoder, recordEncoder } from "../../pipeline/vae_program.ts";
import { openModel } from "../../pipeline/model.ts";
import { override } from "../kernels/fake_device.ts";
import { withOps } from "./stages.ts";

/** The embedded model's VAE, whose tiles are 32x32 pixels of a latent. */
interface Vae {
  readonly ops: Ops;
  readonly decoder: VaeWeights;
  readonly encoder: VaeWeights;
}

function withVae(test: (vae: Vae) => Promise<void>): Promise<void> {
  return withOps(async (ops) => {
    using model = openModel("emoji");
    const parameters = new Parameters(ops, model.parts.vae);
    const config = readVaeConfig(model.config.vae);
    const vae = { ops, decoder: readDecoder(parameters, config), encoder: readEncoder(parameters, config) };
    await parameters.load();
    await test(vae);
  });
}

/** A latent like those that denoising leaves: large smooth shapes, divided by the scaling factor. */
function smoothLatent(height: number, width: number): Float32Array {
  return Float32Array.from({ length: 4 * height * width }, (_, i) => {
    const [channel, y, x] = [Math.floor(i / (height * width)), Math.floor(i / width) % height, i % width];
    return 4 * Math.sin((channel + 1) * x / 9 + channel) * Math.cos((4 - channel) * y / 11);
  });
}

function decibels(got: Float32Array, want: Float32Array, range: number): number {
  const squares = want.reduce((sum, value, i) => sum + (got[i]! - value) ** 2, 0);
  return 10 * Math.log10(range ** 2 / (squares / want.length));
}

/** Decibels that tiles of the embedded model reach: it normalises over a tile what it would over the whole. */
const QUALITY = { decoded: 40, encoded: 30 };

Deno.test("the VAE on tiles", (t) =>
  withVae(async (vae) => {
    await t.step("makes the picture that the whole makes, as far as tiles can know", () => compareTiles(vae));
    await t.step("makes no picture of a latent that is not finite, even where it could", () => refuse(vae));
    await t.step("is the VAE on the whole where there is one tile", () => compareOne(vae));
    await t.step("runs by itself where the GPU cannot bind the whole, or it would take too much", () => choose(vae));
  }));

async function compareTiles({ ops, decoder, encoder }: Vae): Promise<void> {
  const size = { height: 40, width: 56 };
  const values = smoothLatent(size.height, size.width);
  const latent = ops.keep({ batch: 1, channels: 4, ...size }, "latent");
  ops.write(latent, values);
  const run = async (program: TiledProgram, values: Float32Array) => {
    const result = await program.run(() => Promise.resolve(values));
    program.dispose();
    return result;
  };
  const held = ops.gpu.bytes;
  const whole = await run(await recordDecoder(ops, decoder, latent, "auto"), values);
  const tiled = await run(await recordDecoder(ops, decoder, latent, "on"), values);
  const picture = decibels(tiled, whole, 2);
  assert(picture >= QUALITY.decoded, `the picture reaches ${picture} dB`);

  const [moments, tiledMoments] = [
    await run(await recordEncoder(ops, encoder, size, "auto"), whole),
    await run(await recordEncoder(ops, encoder, size, "on"), whole),
  ];
  const means = (values: Float32Array) => values.subarray(0, values.length / 2);
  const encoded = decibels(means(tiledMoments), means(moments), 8);
  assert(encoded >= QUALITY.encoded, `the latent reaches ${encoded} dB`);
  ops.dispose();
  assertEquals(ops.gpu.bytes, held);
}

async function refuse({ ops, decoder }: Vae): Promise<void> {
  const latent = ops.keep({ batch: 1, channels: 4, height: 16, width: 16 }, "latent");
  const values = smoothLatent(16, 16);
  ops.write(latent, values);
  const both = new Decoder({ ops, exactOps: ops, weights: decoder });
  const { values: picture } = await both.decode(latent, "auto", () => Promise.resolve(values));
  assert(picture.every(Number.isFinite));
  for (const value of [NaN, Infinity, -Infinity]) {
    const broken = () => Promise.resolve(values.with(values.length - 1, value));
    await assertRejects(() => both.decode(latent, "auto", broken), GpuFailedError, "The UNet's latent holds values");
  }
  both.release();
}

async function compareOne({ ops, decoder }: Vae): Promise<void> {
  const values = smoothLatent(32, 16);
  const latent = ops.keep({ batch: 1, channels: 4, height: 32, width: 16 }, "latent");
  ops.write(latent, values);
  const pictures: Float32Array[] = [];
  for (const tiling of ["off", "on"] as const) {
    const program = await recordDecoder(ops, decoder, latent, tiling);
    assertEquals(program.tiles, 1);
    pictures.push(await program.run(() => Promise.reject(new Error("A whole decoder reads its latent itself"))));
  }
  assertEquals(pictures[1], pictures[0]);
}

async function choose({ ops, decoder }: Vae): Promise<void> {
  const latent = ops.keep({ batch: 1, channels: 4, height: 33, width: 128 }, "latent");
  /** Tiles where one binding holds `most` bytes and a program is planned to need `planned`; the most that it asked for. */
  const record = async (tiling: VaeTiling, { most = Infinity, planned = 0 }) => {
    let asked = 0;
    const measure = (layout: Layout, label: string) => {
      const bytes = bytesOf(layout);
      if (bytes > most) throw new GpuMemoryError(`Buffer ${label} is too large`);
      asked = Math.max(asked, bytes);
      return bytes;
    };
    const limited = Object.assign(new Ops(override(ops.gpu, { measure }), ops.backend), {
      plannedBytes: () => planned,
    });
    const program = await recordDecoder(limited, decoder, latent, tiling);
    program.dispose();
    return { tiles: program.tiles, asked };
  };
  const whole = await record("auto", { planned: 3 * 2 ** 30 });
  assertEquals(whole.tiles, 1);
  assertEquals((await record("auto", { planned: 3 * 2 ** 30 + 1 })).tiles, 2 * 5);
  assertEquals((await record("off", { planned: 2 ** 40 })).tiles, 1);
  const tiled = await record("auto", { most: whole.asked - 1 });
  assertEquals(tiled.tiles, 2 * 5);
  assertEquals((await record("auto", { most: tiled.asked - 1 })).tiles, 3 * 11);
  await assertRejects(() => record("auto", { most: 1 }), GpuMemoryError, "is too large");
  await assertRejects(() => record("off", { most: whole.asked - 1 }), GpuMemoryError, "let the VAE use tiles: Buffer");
}
