import { assertEquals, assertThrows } from "@std/assert";
import { ModelFileError } from "../../weights/errors.ts";
import { openFormula } from "../../weights/formula.ts";
import { renameTensors, textEncoderName, vaeName } from "../../weights/names.ts";

Deno.test("text encoder names lose their prefix and their strays", () => {
  for (const name of ["embeddings.token_embedding.weight", "encoder.layers.0.self_attn.k_proj.bias"]) {
    assertEquals(textEncoderName(`text_model.${name}`), name);
    assertEquals(textEncoderName(name), name);
  }
  const strays = ["embeddings.position_ids", "logit_scale", "text_projection.weight", "visual_projection.weight"];
  for (const name of ["text_model.embeddings.position_ids", "vision_model.embeddings.class_embedding", ...strays]) {
    assertEquals(textEncoderName(name), undefined);
  }
});

Deno.test("the VAE's old attention names become today's", () => {
  const layers = { query: "to_q", key: "to_k", value: "to_v", proj_attn: "to_out.0" };
  for (const [old, layer] of Object.entries(layers)) {
    for (const kind of ["weight", "bias"]) {
      const name = `decoder.mid_block.attentions.0.${layer}.${kind}`;
      assertEquals(vaeName(`decoder.mid_block.attentions.0.${old}.${kind}`), name);
      assertEquals(vaeName(name), name);
    }
  }
  assertEquals(
    vaeName("decoder.mid_block.attentions.0.group_norm.bias"),
    "decoder.mid_block.attentions.0.group_norm.bias",
  );
  assertEquals(vaeName("encoder.value.weight"), "encoder.value.weight");
});

Deno.test("a renamed source reads the old tensor, and sees a 1x1 attention convolution as a matrix", () => {
  const shapes = new Map([
    ["encoder.mid_block.attentions.0.key.weight", [6, 6, 1, 1]],
    ["encoder.conv_out.weight", [2, 6, 1, 1]],
  ]);
  using source = openFormula("vae", shapes);
  using renamed = renameTensors(source, vaeName);
  assertEquals(Array.from(renamed.tensors.values()), [
    { name: "encoder.mid_block.attentions.0.to_k.weight", dtype: "F16", shape: [6, 6], bytes: 72 },
    { name: "encoder.conv_out.weight", dtype: "F16", shape: [2, 6, 1, 1], bytes: 24 },
  ]);
  assertEquals(
    renamed.read("encoder.mid_block.attentions.0.to_k.weight"),
    source.read("encoder.mid_block.attentions.0.key.weight"),
  );
  assertThrows(() => renamed.read("encoder.mid_block.attentions.0.key.weight"), ModelFileError, "there is no tensor");
});

Deno.test("two names of one weight are refused", () => {
  using source = openFormula("text", new Map([["text_model.a", [1]], ["a", [1]]]));
  assertThrows(() => renameTensors(source, textEncoderName), ModelFileError, 'tensors "text_model.a" and "a"');
});
