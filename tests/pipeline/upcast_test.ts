import { assert } from "@std/assert";
import type { Backend } from "../../kernels/backend.ts";
import { Gpu } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import { readUnetConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { embedTimesteps, prepareUnet, readUnet, unet } from "../../pipeline/nets/unet.ts";
import type { TensorSource } from "../../weights/mod.ts";
import { readGolden } from "../golden.ts";
import { HALF_BACKEND } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { assertStage, channelMajor } from "./stages.ts";

const golden = readGolden("fixtures/tiny-sd2/cases.safetensors");

/** Queries and keys so large that each fits into float16 and their products do not. */
const FACTOR = 128;

/** The same source with larger queries and keys. */
function enlarged(source: TensorSource): TensorSource {
  return {
    ...source,
    read(name, options) {
      const bytes = source.read(name, options);
      if (/\.to_[qk]\.weight$/.test(name)) {
        const values = new Float16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
        values.forEach((value, i) => values[i] = FACTOR * value);
      }
      return bytes;
    },
  };
}

async function predict(gpu: Gpu, backend: Backend, source: TensorSource, upcast: boolean): Promise<Float32Array> {
  using model = openTinyModel("tiny-sd2");
  const ops = new Ops(gpu, backend);
  const weights = readUnet(
    new Parameters(ops, source),
    readUnetConfig({ ...model.config.unet, upcast_attention: upcast }),
  );
  const [context, timesteps, x] = [
    ops.keep({ batch: 2, channels: 32, height: 77, width: 1 }, "context"),
    ops.keep({ batch: 1, channels: 32, height: 1, width: 1 }, "timesteps"),
    ops.keep({ batch: 2, channels: 4, height: 16, width: 16 }, "sample"),
  ];
  ops.write(context, channelMajor(golden.get("unet.context")!));
  ops.write(timesteps, embedTimesteps(weights.config, [481]));
  ops.write(x, golden.get("unet.sample")!.data);
  const [step, out] = [ops.buffer(1, "step", "u32"), ops.keep(x, "output")];
  const program = ops.record(() => {
    ops.copy(unet(ops, weights, x, prepareUnet(ops, weights, { timesteps, step, context })), out);
  });
  program.run();
  const values = await ops.read(out);
  program.dispose();
  return values;
}

Deno.test("attention that a model asks in float32 holds products that float16 does not", async () => {
  await using gpu = await Gpu.open();
  if (!gpu.device.features.has("shader-f16")) return;
  using model = openTinyModel("tiny-sd2");
  const { unet: source } = model.parts;
  const want = golden.get("unet.out.t481")!.data;
  for (const upcast of [false, true]) {
    assertStage(`upcast ${upcast}`, await predict(gpu, HALF_BACKEND, source, upcast), want, 1e-2);
  }
  const large = enlarged(source);
  const [half, upcast] = [
    await predict(gpu, HALF_BACKEND, large, false),
    await predict(gpu, HALF_BACKEND, large, true),
  ];
  assert(!half.every(Number.isFinite), "products this large fit into float16: the test shows nothing");
  assert(upcast.every(Number.isFinite), "attention in float32 gives values that are not finite");
});
