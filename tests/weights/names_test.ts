import { assertEquals, assertThrows } from "@std/assert";
import { ModelFileError } from "../../weights/errors.ts";
import { openFormula } from "../../weights/formula.ts";
import { openClipNames } from "../../weights/ldm_names.ts";
import { belongs, PARTS } from "../../weights/manifest.ts";
import { renameTensors, textEncoderName, vaeName } from "../../weights/names.ts";

Deno.test("text encoder names lose their prefix and their strays", () => {
  for (const name of ["embeddings.token_embedding.weight", "encoder.layers.0.self_attn.k_proj.bias"]) {
    assertEquals(textEncoderName(`text_model.${name}`), name);
    assertEquals(textEncoderName(name), name);
  }
  const strays = ["embeddings.position_ids", "logit_scale", "text_projection.weight", "visual_projection.weight"];
  for (const name of ["text_model.embeddings.position_ids", "vision_model.embeddings.class_embedding", ...strays]) {
    assertEquals(belongs(PARTS.text_encoder.folder, name), false);
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

Deno.test("a tensor that is stored as one is split by rows, and rows that are stored apart are joined", () => {
  const shapes = new Map([["in_proj", [6, 4]], ["low", [2, 3]], ["high", [2, 3]], ["other", [2]]]);
  using source = openFormula("parts", shapes);
  using renamed = renameTensors(source, (name) => {
    if (name === "in_proj") return ["q", "k", "v"];
    return name === "other" ? name : { name: "all", index: name === "low" ? 0 : 1, of: 2 };
  });
  assertEquals(Array.from(renamed.tensors.values(), ({ name, shape, bytes }) => [name, shape, bytes]), [
    ["q", [2, 4], 16],
    ["k", [2, 4], 16],
    ["v", [2, 4], 16],
    ["all", [4, 3], 24],
    ["other", [2], 4],
  ]);
  const whole = source.read("in_proj");
  ["q", "k", "v"].forEach((name, i) => assertEquals(renamed.read(name), whole.slice(16 * i, 16 * (i + 1)), name));
  const joined = new Uint8Array([...source.read("low"), ...source.read("high")]);
  assertEquals(renamed.read("all"), joined);
  // A part that begins in one stored tensor and ends in the other, and one within the second.
  for (const [begin, length] of [[10, 6], [14, 8], [0, 24]] as const) {
    assertEquals(renamed.read("all", { begin, into: new Uint8Array(length) }), joined.slice(begin, begin + length));
  }
  assertEquals(renamed.read("k", { begin: 4, into: new Uint8Array(6) }), whole.slice(20, 26));
});

Deno.test("rows that cannot be shared, are missing or do not fit are refused", () => {
  using source = openFormula("parts", new Map([["seven", [7, 2]], ["a", [2, 3]], ["b", [2, 4]]]));
  assertThrows(
    () => renameTensors(source, () => ["q", "k", "v"]),
    ModelFileError,
    '"seven" has 7 rows, which 3 cannot',
  );
  const only = (wanted: string, index: number) => (name: string) =>
    name === wanted ? { name: "all", index, of: 2 } : undefined;
  for (const index of [0, 1]) {
    assertThrows(
      () => renameTensors(source, only("a", index)),
      ModelFileError,
      '"all" is stored in 2 parts, and not all',
    );
  }
  const both = (name: string) => name === "seven" ? undefined : { name: "all", index: name === "a" ? 0 : 1, of: 2 };
  assertThrows(() => renameTensors(source, both), ModelFileError, '"all" is stored in 2 parts, and not all');
});

for (const dtype of ["F16", "F32"] as const) {
  Deno.test(`a matrix in ${dtype} whose rows are columns is read in any pieces`, async () => {
    const stored = openFormula("a", new Map([["text_projection", [5, 3]]]), dtype);
    const turned = renameTensors(stored, openClipNames());
    const name = "text_projection.weight";
    const { shape, bytes } = turned.tensors.get(name)!;
    assertEquals([shape, turned.tensors.size], [[3, 5], 1]);
    const [size, old] = [bytes / 15, stored.read("text_projection")];
    const columns = [0, 1, 2].flatMap((column) => [0, 1, 2, 3, 4].map((row) => 3 * row + column));
    const want = Uint8Array.from(columns.flatMap((i) => [...old.subarray(i * size, (i + 1) * size)]));
    for (const [begin, end] of [[0, bytes], [1, 4], [size, bytes - 1], [bytes - 3, bytes]] as const) {
      const options = () => ({ begin, into: new Uint8Array(end - begin) });
      assertEquals(turned.read(name, options()), want.subarray(begin, end));
      assertEquals(await turned.readAsync(name, options()), want.subarray(begin, end));
    }
    assertThrows(() => turned.read(name, { begin: bytes, into: new Uint8Array(1) }), RangeError);
  });
}
