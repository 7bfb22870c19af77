import { assertEquals, assertThrows } from "@std/assert";
import { checkModel } from "../../pipeline/check_model.ts";
import { readVaeConfig } from "../../pipeline/nets/config.ts";
import { ShapeRecorder } from "../../pipeline/nets/shapes.ts";
import { type Model, openModel } from "../../pipeline/model.ts";
import { readDecoder, readEncoder } from "../../pipeline/nets/vae.ts";
import { ModelFileError, type TensorInfo } from "../../weights/mod.ts";
import {
  type ByPart,
  byPart,
  checkpointNaming,
  type Naming as FileNaming,
  PART_NAMES,
  partEntry,
  type PartName,
  renameOf,
} from "../../weights/manifest.ts";
import { renameTensors } from "../../weights/names.ts";
import { configOfShapes } from "../../weights/shape_config.ts";
import { openTinyModel } from "../tiny_model.ts";
import { LDM_NAMES } from "../weights/ldm_checkpoint.ts";

/** How files name tensors, and how names are read back. */
interface Naming {
  readonly write: ByPart<(canonical: string) => string>;
  readonly read: (part: PartName, names: readonly string[]) => FileNaming;
}

const same = (name: string) => name;
const folder = (part: PartName) => partEntry(part).folder;
const oldLayers: Readonly<Record<string, string>> = {
  to_q: "query",
  to_k: "key",
  to_v: "value",
  "to_out.0": "proj_attn",
};

const NAMINGS: Readonly<Record<string, Naming>> = {
  "today's diffusers": { write: { text_encoder: same, unet: same, vae: same }, read: folder },
  "early diffusers": {
    write: {
      text_encoder: (name) => `text_model.${name}`,
      unet: same,
      vae: (name) => name.replace(/to_(?:q|k|v|out\.0)(?=\.)/, (layer) => oldLayers[layer]!),
    },
    read: folder,
  },
  "single files": { write: LDM_NAMES, read: (part, names) => checkpointNaming(part, names)! },
};

/** The tiny model from files of a naming, tensors of one part changed. */
function openTiny(naming: Naming, changed?: PartName, change?: (tensors: Map<string, TensorInfo>) => void): Model {
  const tiny = openTinyModel();
  const parts = byPart((part) => {
    const infos = [...tiny.parts[part].tensors.values()];
    const tensors = new Map(infos.map((info) => [naming.write[part](info.name), info]));
    if (part === changed) change!(tensors);
    const names = [...tensors.keys()];
    return renameTensors({ ...tiny.parts[part], label: part, tensors }, renameOf(naming.read(part, names), names));
  });
  return { ...tiny, parts };
}

/** A tensor of each part, and one that no part has. */
const TENSORS: ByPart<readonly [canonical: string, shape: string, surplus: string]> = {
  text_encoder: ["encoder.layers.1.mlp.fc1.weight", "[128, 32]", "encoder.layers.1.mlp.fc1.scale"],
  unet: ["up_blocks.1.upsamplers.0.conv.weight", "[96, 96, 3, 3]", "down_blocks.2.resnets.1.conv1.scale"],
  vae: ["encoder.mid_block.attentions.0.to_q.weight", "[64, 64]", "decoder.conv_in.scale"],
};

for (const [title, naming] of Object.entries(NAMINGS)) {
  Deno.test(`names of ${title}: all are found, and one that is missing, misshapen or unknown is named`, () => {
    checkModel(openTiny(naming));
    for (const part of PART_NAMES) {
      const [canonical, shape, surplus] = TENSORS[part];
      const name = naming.write[part](canonical);
      const refusals: readonly (readonly [(tensors: Map<string, TensorInfo>) => void, string])[] = [
        [(tensors) => tensors.delete(name), `${part}: 1 tensor is missing: ${canonical} ${shape}`],
        [
          (tensors) => tensors.set(name, { ...tensors.get(name)!, shape: [7, 5] }),
          `${part}: 1 tensor has another shape than the configuration asks for: ${canonical} is [7, 5], not ${shape}`,
        ],
        [
          (tensors) => tensors.set(naming.write[part](surplus), tensors.get(name)!),
          `${part}: 1 tensor is unknown: "${surplus}"`,
        ],
      ];
      for (const [change, message] of refusals) {
        const error = assertThrows(() => checkModel(openTiny(naming, part, change)), ModelFileError);
        assertEquals(error.message, message);
      }
    }
  });
}

Deno.test("whichever tensor a file without a configuration lacks, it is that one which is named", () => {
  using tiny = openTinyModel();
  for (const part of PART_NAMES) {
    for (const name of tiny.parts[part].tensors.keys()) {
      const tensors = new Map(tiny.parts[part].tensors);
      tensors.delete(name);
      const parts = { ...tiny.parts, [part]: { ...tiny.parts[part], tensors } };
      const found = configOfShapes(parts);
      // No shape tells heads, and 12 of them, as in version 1, do not share the tiny model's channels.
      const config = { ...found, text_encoder: { ...found.text_encoder, num_attention_heads: 4 } };
      assertThrows(() => checkModel({ ...tiny, parts, config }), ModelFileError, `1 tensor is missing: ${name} [`);
    }
  }
});

Deno.test("all that is wrong is told, up to ten tensors of a kind", () => {
  const model = openTiny(NAMINGS["today's diffusers"]!, "unet", (tensors) => {
    for (const name of [...tensors.keys()].filter((name) => name.includes("attn2.to_k"))) {
      const info = tensors.get(name)!;
      tensors.delete(name);
      tensors.set(`${name}.lora`, info);
    }
    tensors.set("conv_in.bias", { ...tensors.get("conv_in.bias")!, shape: [] });
  });
  const { message } = assertThrows(() => checkModel(model), ModelFileError);
  const [missing, misshapen, unknown] = message.split("; ") as [string, string, string];
  assertEquals(missing.match(/attn2/g)!.length, 10);
  assertEquals(missing.match(/^unet: 16 tensors are missing: .* and 6 more$/)?.length, 1);
  assertEquals(misshapen, "1 tensor has another shape than the configuration asks for: conv_in.bias is [], not [32]");
  assertEquals(unknown.match(/^16 tensors are unknown: .*\.lora" and 6 more$/)?.length, 1);
});

Deno.test("a bias is never taken for zero because it is not there", () => {
  const model = openTiny(NAMINGS["today's diffusers"]!, "unet", (tensors) => tensors.delete("conv_in.bias"));
  assertThrows(() => checkModel(model), ModelFileError, "1 tensor is missing: conv_in.bias [32]");
});

Deno.test("a VAE may come without its encoder, not with a part of it", () => {
  const without = (kept: (name: string) => boolean) =>
    openTiny(NAMINGS["today's diffusers"]!, "vae", (tensors) => {
      for (const name of [...tensors.keys()]) {
        if (/^(?:encoder|quant_conv)\./.test(name) && !kept(name)) tensors.delete(name);
      }
    });
  checkModel(without(() => false));
  assertThrows(
    () => checkModel(without((name) => name === "encoder.conv_in.bias")),
    ModelFileError,
    "tensors are missing",
  );
});

Deno.test("the embedded model and the readers agree on every tensor", () => {
  using model = openModel("emoji");
  checkModel(model);
  const recorders = byPart(() => new ShapeRecorder());
  model.family.read(recorders, model.config);
  const vae = readVaeConfig(model.config.vae);
  readDecoder(recorders.vae, vae);
  readEncoder(recorders.vae, vae);
  for (const part of PART_NAMES) {
    assertEquals([...recorders[part].shapes.keys()].sort(), [...model.parts[part].tensors.keys()].sort());
  }
});
