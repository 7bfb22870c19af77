import { assertEquals } from "@std/assert";
import { readTextConfig, readUnetConfig, readVaeConfig } from "../../pipeline/config.ts";
import type { Parameters } from "../../pipeline/parameters.ts";
import { openRandomModel, recordShapes } from "../../pipeline/random_model.ts";
import { readTextEncoder } from "../../pipeline/text_encoder.ts";
import { loadTokenizer } from "../../pipeline/tokenizer.ts";
import { readUnet } from "../../pipeline/unet.ts";
import { readDecoder } from "../../pipeline/vae.ts";
import type { TensorSource } from "../../weights/mod.ts";
import { openTinyModel } from "../tiny_model.ts";

type Shapes = Iterable<readonly [string, readonly number[]]>;

/** Names and shapes in order; trailing ones, of linear layers as 1x1 convolutions, do not count. */
function sorted(shapes: Shapes): readonly string[] {
  return [...shapes].map(([name, shape]) => `${name} ${shape}`.replace(/(,1)+$/, "")).toSorted();
}

Deno.test("readers ask for the tensors that a model has", () => {
  using model = openTinyModel();
  const check = (source: TensorSource, read: (parameters: Parameters) => unknown, part = /./) => {
    const named = [...source.tensors].flatMap(([name, { shape }]) => part.test(name) ? [[name, shape] as const] : []);
    assertEquals(sorted(recordShapes(read)), sorted(named));
  };
  const { textEncoder, unet, vae } = model.config;
  check(model.textEncoder, (parameters) => readTextEncoder(parameters, readTextConfig(textEncoder)));
  check(model.unet, (parameters) => readUnet(parameters, readUnetConfig(unet)));
  check(model.vae, (parameters) => readDecoder(parameters, readVaeConfig(vae)), /^(decoder|post_quant_conv)\./);
});

Deno.test("Stable Diffusion 1.4 with computed weights has the parameters of the real one", async () => {
  using model = openRandomModel();
  const count = ({ tensors }: TensorSource) => {
    return [...tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  };
  // The VAE is its decoder of 49,490,179 and a 1x1 convolution of 20.
  assertEquals([model.textEncoder, model.unet, model.vae].map(count), [123060480, 859520964, 49490199]);
  const { begin, end, maxLength, tokenize } = await loadTokenizer(model.tokenizer);
  assertEquals([begin, end, maxLength, await tokenize("")], [49406, 49407, 77, []]);
});
