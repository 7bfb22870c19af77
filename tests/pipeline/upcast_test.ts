import { assert } from "@std/assert";
import type { Backend } from "../../kernels/backend.ts";
import { Gpu } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import { readUnetConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { readUnet } from "../../pipeline/nets/unet.ts";
import type { TensorSource } from "../../weights/mod.ts";
import { readGolden } from "../golden.ts";
import { HALF_BACKEND } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { assertStage, recordTinyUnet } from "./stages.ts";

const golden = readGolden("fixtures/tiny-sd2/cases.safetensors");

/** Queries and keys so large that each fits into float16 and their products do not. */
const FACTOR = 128;

/** The same source with larger queries and keys. */
function enlarged(source: TensorSource): TensorSource {
  const read: TensorSource["read"] = (name, options) => {
    const bytes = source.read(name, options);
    if (/\.to_[qk]\.weight$/.test(name)) {
      const values = new Float16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
      values.forEach((value, i) => values[i] = FACTOR * value);
    }
    return bytes;
  };
  return { ...source, read, readAsync: (name, options) => Promise.resolve(read(name, options)) };
}

async function predict(gpu: Gpu, backend: Backend, source: TensorSource, upcast: boolean): Promise<Float32Array> {
  using model = openTinyModel("tiny-sd2");
  const ops = new Ops(gpu, backend);
  const parameters = new Parameters(ops, source);
  const weights = readUnet(parameters, readUnetConfig({ ...model.config.unet, upcast_attention: upcast }));
  await parameters.load();
  const { program, out } = recordTinyUnet(ops, weights, { golden, timestep: 481 });
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
