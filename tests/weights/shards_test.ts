import { assertEquals, assertThrows } from "@std/assert";
import { ModelFileError, ModelNotFoundError } from "../../weights/errors.ts";
import { openShards } from "../../weights/shards.ts";
import { entry, safetensors, withFolder } from "./safetensors_bytes.ts";

const ONE = "model-00001-of-00002.safetensors";
const TWO = "model-00002-of-00002.safetensors";

/** Two shards, `a` in one and `b` and an ignored `ids` in the other, under an index with this weight map. */
function withShards(weightMap: unknown, use: (index: string, folder: string) => void): void {
  withFolder((folder) => {
    const index = `${folder}/model.safetensors.index.json`;
    Deno.writeTextFileSync(index, JSON.stringify({ metadata: { total_size: 24 }, weight_map: weightMap }));
    Deno.writeFileSync(`${folder}/${ONE}`, safetensors({ a: entry([2], 0, 8) }, 8));
    Deno.writeFileSync(`${folder}/${TWO}`, safetensors({ ids: entry([1], 0, 8, "I64"), b: entry([1], 8, 12) }, 12));
    use(index, folder);
  });
}

const ignore = (name: string) => name === "ids";

Deno.test("shards read as one source", () => {
  withShards({ a: ONE, b: TWO, ids: TWO }, (index) => {
    using source = openShards(index, { ignore });
    assertEquals(Array.from(source.tensors.keys()), ["a", "b"]);
    assertEquals(source.read("a"), Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7));
    assertEquals(source.read("b"), Uint8Array.of(8, 9, 10, 11));
    assertThrows(() => source.read("ids"), ModelFileError, 'there is no tensor "ids"');
  });
});

const WRONG: readonly (readonly [title: string, weightMap: unknown, words: string])[] = [
  ["a tensor in another shard", { a: TWO, b: TWO }, `tensor "a" is not in ${TWO}`],
  ["a tensor in no shard", { a: ONE, b: TWO, c: ONE }, `tensor "c" is not in ${ONE}`],
  ["a tensor not in the index", { a: ONE, c: TWO }, 'tensor "b" is not where the index says'],
  ["no weight map", undefined, "no object weight_map"],
  ["a path out of the folder", { a: `../${ONE}` }, "not the name of a safetensors file"],
  ...["..", "..safetensors", "/etc/1.safetensors", "a\\1.safetensors", "a\0b.safetensors", "\x1b]0;.safetensors"].map((
    name,
  ) => [`${JSON.stringify(name)} as a shard`, { a: name }, "which is not the name of a safetensors file"] as const),
  [
    "a shard whose name is too long",
    { a: `${"a".repeat(300)}.safetensors` },
    "in a text of 312 characters, which is not",
  ],
  [
    "more shards than can be open",
    Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`${i}`, `${i}.safetensors`])),
    "the index names 129 files; at most 128 are opened",
  ],
  ["a pickle", { a: "model.bin" }, '"model.bin", which is not the name'],
  ["a shard that is not a string", { a: 1 }, 'the index puts tensor "a" in 1, which is not'],
];

for (const [title, weightMap, words] of WRONG) {
  Deno.test(`shards: ${title} is refused`, () => {
    withShards(weightMap, (index) => {
      assertThrows(() => openShards(index, { ignore }), ModelFileError, words);
    });
  });
}

Deno.test("shards: an absent one is named", () => {
  withShards({ a: ONE, b: TWO }, (index, folder) => {
    Deno.removeSync(`${folder}/${TWO}`);
    assertThrows(() => openShards(index, { ignore }), ModelNotFoundError, TWO);
  });
});
