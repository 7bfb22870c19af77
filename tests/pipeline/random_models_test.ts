import { assertEquals } from "@std/assert";
import { openRandomModel } from "../../pipeline/bench/random_models.ts";
import { tokenizersOf } from "../../pipeline/model.ts";
import { partsOf, type TensorSource } from "../../weights/mod.ts";

/** Their decoders, and convolutions of 1x1 between latents, are all of their VAEs. */
const MODELS = {
  sd14: { parameters: [123060480, 859520964, 49490199], side: 512, padding: [49407] },
  sdxl: { parameters: [123060480, 694659840, 2567463684, 49490199], side: 1024, padding: [49407, 0] },
} as const;

for (const name of ["sd14", "sdxl"] as const) {
  Deno.test(`${name} with computed weights has the parameters of the real one`, async () => {
    using model = openRandomModel(name);
    const count = ({ tensors }: TensorSource) => {
      return [...tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    };
    const { parameters, side, padding } = MODELS[name];
    assertEquals(partsOf(model.parts).map((part) => count(model.parts[part]!)), [...parameters]);
    assertEquals([model.defaults.width, model.defaults.height], [side, side]);
    const tokenizers = await tokenizersOf(model);
    assertEquals(tokenizers.map((tokenizer) => tokenizer.padding), [...padding]);
    const { begin, end, maxLength, tokenize } = tokenizers[0]!;
    assertEquals([begin, end, maxLength, await tokenize("")], [49406, 49407, 77, []]);
  });
}
