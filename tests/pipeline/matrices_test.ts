import { assert } from "@std/assert";
import { bufferBackends, Gpu, Ops } from "../../kernels/mod.ts";
import { readUnetConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { readUnet } from "../../pipeline/nets/unet.ts";
import { openTinyModel } from "../tiny_model.ts";
import { assertStage, readStages, recordTinyUnet } from "./stages.ts";

/** What float16 weights and activations may be off by. */
const ALLOWED_HALF = 1e-2;

Deno.test("tiny-sd1's UNet equals PyTorch on matrices, where the adapter has them", async () => {
  await using gpu = await Gpu.open();
  if (gpu.matrices.length === 0) return;
  using model = openTinyModel();
  const golden = readStages();
  const ops = new Ops(gpu, bufferBackends(gpu).half);
  const parameters = new Parameters(ops, model.parts.unet, "f16");
  const weights = readUnet(parameters, readUnetConfig(model.config.unet));
  await parameters.load();
  const timestep = 981;
  const { program, out } = recordTinyUnet(ops, weights, { golden, timestep });
  const onMatrices = program.kernels.filter(({ wgsl }) => wgsl.includes("subgroup_matrix")).length;
  assert(onMatrices > 100, `${onMatrices} of ${program.kernels.length} launches are on matrices`);
  program.run();
  assertStage("UNet", await ops.read(out), golden.get(`unet.out.t${timestep}`)!.data, ALLOWED_HALF);
  program.dispose();
});
