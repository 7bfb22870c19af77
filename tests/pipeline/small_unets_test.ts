import { assertEquals } from "@std/assert";
import { Gpu } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import { checkModel } from "../../pipeline/check_model.ts";
import { readUnetConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { readUnet } from "../../pipeline/nets/unet.ts";
import { openFiles } from "../../weights/mod.ts";
import { readGolden } from "../golden.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel, TOKENIZER } from "../tiny_model.ts";
import { tinyCheckpoint } from "../weights/ldm_checkpoint.ts";
import { withFile } from "../weights/safetensors_bytes.ts";
import { ALLOWED, assertStage, readStages, recordTinyUnet } from "./stages.ts";

/** UNets with one residual block a level (BK-SDM, arXiv 2305.15798): as they are, without a middle, and of three levels. */
const SMALL = ["tiny-bk-base", "tiny-bk-small", "tiny-bk-tiny"] as const;

for (const name of SMALL) {
  for (const backend of BACKENDS) {
    Deno.test(`${name}: diffusers' prediction, ${backend.name} kernels`, async () => {
      await using gpu = await Gpu.open();
      using model = openTinyModel(name);
      checkModel(model);
      const ops = new Ops(gpu, backend);
      const parameters = new Parameters(ops, model.parts.unet);
      const weights = readUnet(parameters, readUnetConfig(model.config.unet));
      await parameters.load();
      const { program, out } = recordTinyUnet(ops, weights, { golden: readStages(), timestep: 481 });
      program.run();
      const want = readGolden(`fixtures/${name}/cases.safetensors`).get("out.t481")!.data;
      assertStage(name, await ops.read(out), want, ALLOWED.unet);
    });
  }

  // Converted as diffusers does it, whose numbers leave room for a second block, and without such gaps.
  for (const layers of [1, 2]) {
    Deno.test(`${name}: a single file whose levels are ${layers + 1} numbers apart has the configuration and weights of the folder`, () => {
      using folder = openTinyModel(name);
      withFile(tinyCheckpoint({ model: name, layers }), (path) => {
        using file = openFiles(path, { tokenizer: TOKENIZER });
        const { tensors } = file.parts.unet;
        assertEquals([...tensors.keys()].sort(), [...folder.parts.unet.tensors.keys()].sort());
        for (const name of tensors.keys()) assertEquals(file.parts.unet.read(name), folder.parts.unet.read(name), name);
        const { attention_head_dim, norm_num_groups } = folder.config.unet;
        const told = readUnetConfig({ ...file.config.unet, attention_head_dim, norm_num_groups });
        assertEquals(told, readUnetConfig(folder.config.unet));
      });
    });
  }
}
