import { assertEquals } from "@std/assert";
import { openRandomModel } from "../../pipeline/bench/sd14.ts";
import { loadTokenizer } from "../../pipeline/tokenizer.ts";
import { PART_NAMES, type TensorSource } from "../../weights/mod.ts";

Deno.test("Stable Diffusion 1.4 with computed weights has the parameters of the real one", async () => {
  using model = openRandomModel();
  const count = ({ tensors }: TensorSource) => {
    return [...tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  };
  // The VAE is its decoder of 49,490,179 and a 1x1 convolution of 20.
  assertEquals(PART_NAMES.map((part) => count(model.parts[part])), [123060480, 859520964, 49490199]);
  const { begin, end, maxLength, tokenize } = await loadTokenizer(model.tokenizer);
  assertEquals([begin, end, maxLength, await tokenize("")], [49406, 49407, 77, []]);
});
