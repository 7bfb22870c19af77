import type { Ops } from "../../kernels/ops.ts";
import type { Shape } from "../../kernels/backend.ts";
import type { Tensor } from "../../kernels/tensor.ts";
import { readVaeConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { decode, encode, readDecoder, readEncoder } from "../../pipeline/nets/vae.ts";
import { openTinyModel } from "../tiny_model.ts";
import { assertStage, readStages, withOps } from "./stages.ts";

const golden = readStages();
const LATENT: Shape = { batch: 1, channels: 4, height: 16, width: 16 };
const IMAGE: Shape = { batch: 1, channels: 3, height: 128, width: 128 };
const MOMENTS: Shape = { ...LATENT, channels: 8 };

/** What `build` makes of `values`. */
async function run(ops: Ops, [from, to]: [Shape, Shape], values: Float32Array, build: (x: Tensor) => Tensor) {
  const [x, y] = [ops.keep(from, "input"), ops.keep(to, "output")];
  ops.write(x, values);
  const program = ops.record(() => ops.copy(build(x), y));
  program.run();
  const result = await ops.read(y);
  program.dispose();
  return result;
}

Deno.test("the decoder and the encoder equal PyTorch", () =>
  withOps(async (ops) => {
    using model = openTinyModel();
    const parameters = new Parameters(ops, model.parts.vae);
    const config = readVaeConfig(model.config.vae);
    const [decoder, encoder] = [readDecoder(parameters, config), readEncoder(parameters, config)];
    await parameters.load();

    const latent = golden.get("vae.latent")!.data;
    const picture = await run(ops, [LATENT, IMAGE], latent, (z) => decode(ops, decoder, z));
    assertStage("decoded picture", picture, golden.get("vae.decoded")!.data);

    const image = golden.get("vae.image")!.data;
    const moments = await run(ops, [IMAGE, MOMENTS], image, (x) => encode(ops, encoder, x));
    assertStage("mean", moments.subarray(0, 1024), golden.get("vae.mean")!.data);
    assertStage("log variance", moments.subarray(1024), golden.get("vae.logvar")!.data);
  }));
