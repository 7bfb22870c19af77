import { assertEquals, assertThrows } from "@std/assert";
import { openControlNet, scaleTensors } from "../../weights/controlnet.ts";
import { ModelFileError, ModelNotFoundError } from "../../weights/errors.ts";
import { controlNetNames } from "../../weights/ldm_names.ts";
import { controlFile, controlFolder } from "./controlnet_file.ts";
import { withFile } from "./safetensors_bytes.ts";

/** As files of lllyasviel/ControlNet-v1-1 spell them, and what diffusers calls them. */
const KNOWN = [
  ["input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight"],
  ["input_hint_block.2.weight", "controlnet_cond_embedding.blocks.0.weight"],
  ["input_hint_block.12.bias", "controlnet_cond_embedding.blocks.5.bias"],
  ["input_hint_block.14.bias", "controlnet_cond_embedding.conv_out.bias"],
  ["zero_convs.0.0.weight", "controlnet_down_blocks.0.weight"],
  ["zero_convs.11.0.bias", "controlnet_down_blocks.11.bias"],
  ["middle_block_out.0.weight", "controlnet_mid_block.weight"],
  ["time_embed.2.bias", "time_embedding.linear_2.bias"],
  ["input_blocks.0.0.weight", "conv_in.weight"],
  ["input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"],
  ["input_blocks.4.0.skip_connection.weight", "down_blocks.1.resnets.0.conv_shortcut.weight"],
  [
    "input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight",
    "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k.weight",
  ],
  ["input_blocks.11.0.emb_layers.1.weight", "down_blocks.3.resnets.1.time_emb_proj.weight"],
  ["middle_block.2.out_layers.3.bias", "mid_block.resnets.1.conv2.bias"],
  ["middle_block.1.proj_in.weight", "mid_block.attentions.0.proj_in.weight"],
  ["label_emb.0.0.weight", "add_embedding.linear_1.weight"],
  ["zero_convs.0.1.weight", "zero_convs.0.1.weight"],
  ["input_hint_block.0", "input_hint_block.0"],
] as const;

Deno.test("the original names of a ControlNet's tensors become diffusers', and others stay", () => {
  const rename = controlNetNames([...KNOWN.map(([name]) => name), "input_blocks.6.0.op.weight"]);
  for (const [name, canonical] of KNOWN) assertEquals(rename(name), canonical);
});

Deno.test("a ControlNet's folder, also of half precision, says what it is; without weights or with a pickle it is refused", () => {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.copyFileSync(`${controlFolder()}/config.json`, `${folder}/config.json`);
    assertThrows(() => openControlNet(folder), ModelNotFoundError, `The ControlNet in ${folder} has no weights`);
    Deno.writeTextFileSync(`${folder}/diffusion_pytorch_model.bin`, "");
    assertThrows(() => openControlNet(folder), ModelFileError, "ControlNetModel");
    for (const ending of [".fp16.safetensors", ".safetensors"]) {
      const path = `${folder}/diffusion_pytorch_model${ending}`;
      Deno.writeFileSync(path, controlFile());
      const { source, given, config } = openControlNet(folder);
      using _ = source;
      assertEquals([given.path, Object.keys(given.hashes())], [folder, [`${folder}/config.json`, path]]);
      assertEquals(config({ block_out_channels: [1] }).block_out_channels, [32, 64, 96, 96]);
    }
    Deno.removeSync(`${folder}/diffusion_pytorch_model.safetensors`);
    Deno.removeSync(`${folder}/diffusion_pytorch_model.fp16.safetensors`);
    Deno.symlinkSync("/etc/hostname", `${folder}/diffusion_pytorch_model.safetensors`);
    assertThrows(() => openControlNet(folder), ModelFileError, "this is a link out of the folder");
    const pickle = `${folder}/control_v11p_sd15_canny.pth`;
    Deno.writeTextFileSync(pickle, "");
    assertThrows(() => openControlNet(pickle), ModelFileError, "ControlNetModel");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("scaled tensors are read whole and in pieces, and the others as they are", () => {
  withFile(controlFile(), (path) => {
    using source = openControlNet(path).source;
    const [name, other] = ["controlnet_mid_block.weight", "conv_in.bias"];
    const scaled = scaleTensors(source, new Set([name!]), -0.5);
    assertEquals([scaled.tensors.get(name!)!.dtype, scaled.tensors.get(other!)!.dtype], ["F32", "F16"]);
    const want = Float32Array.from(new Float16Array(source.read(name!).buffer), (value) => value * -0.5);
    assertEquals(new Float32Array(scaled.read(name!).buffer), want);
    const piece = new Uint8Array(20);
    scaled.read(name!, { begin: 8, into: piece });
    assertEquals(new Float32Array(piece.buffer), want.subarray(2, 7));
    assertEquals(scaled.read(other!), source.read(other!));
    assertThrows(() => scaled.read("none"), ModelFileError, "there is no tensor");
  });
});
