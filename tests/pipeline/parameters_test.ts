import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Backend, RawWeights, WeightShape } from "../../kernels/backend.ts";
import type { Ops } from "../../kernels/ops.ts";
import { type Filling, upload } from "../../kernels/upload.ts";
import { readTextConfig, readUnetConfig } from "../../pipeline/nets/config.ts";
import { Gpu, type Model, Pipeline } from "../../pipeline/mod.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { ShapeRecorder } from "../../pipeline/nets/shapes.ts";
import { readTextEncoder } from "../../pipeline/nets/clip.ts";
import { readUnet } from "../../pipeline/nets/unet.ts";
import {
  type JsonObject,
  ModelFileError,
  openFormula,
  type PartName,
  sd14Config,
  type TensorSource,
} from "../../weights/mod.ts";
import { readTarget } from "../../weights/tensor_source.ts";
import { openTinyModel } from "../tiny_model.ts";

/** The same source with one tensor's shape changed, or without the tensor. */
function reshaped(source: TensorSource, name: string, shape?: readonly number[]): TensorSource {
  const tensors = new Map(source.tensors);
  const info = tensors.get(name)!;
  if (shape) tensors.set(name, { ...info, shape });
  else tensors.delete(name);
  return { ...source, tensors };
}

Deno.test("a model that does not fit its configuration is refused with the tensor's name", async () => {
  using model = openTinyModel();
  const { parts: { unet, vae, text_encoder: text }, config } = model;
  const of = (part: PartName, source: TensorSource) => ({ parts: { ...model.parts, [part]: source } });
  const configured = (part: keyof typeof config, change: JsonObject) => ({
    config: { ...config, [part]: { ...config[part], ...change } },
  });
  const refusals: readonly (readonly [Partial<Model>, string])[] = [
    [of("unet", reshaped(unet, "conv_in.weight")), "1 tensor is missing: conv_in.weight [32, 4, 3, 3]"],
    [
      of("unet", reshaped(unet, "conv_in.weight", [32, 5, 3, 3])),
      "conv_in.weight is [32, 5, 3, 3], not [32, 4, 3, 3]",
    ],
    [of("vae", reshaped(vae, "decoder.conv_norm_out.bias")), "1 tensor is missing: decoder.conv_norm_out.bias [32]"],
    [of("text_encoder", reshaped(text, "final_layer_norm.weight", [31])), "final_layer_norm.weight is [31]"],
    [configured("unet", { in_channels: 9 }), "maps 9 channels to 4, but the VAE's latents have 4"],
    [configured("unet", { cross_attention_dim: 64 }), "reads a context of width 64, and the text encoder writes 32"],
    [configured("unet", { mid_block_type: "Other" }), 'mid_block_type is "Other"'],
  ];
  await using gpu = await Gpu.open();
  for (const [change, message] of refusals) {
    await assertRejects(() => Pipeline.load(gpu, { ...model, ...change }), ModelFileError, message);
  }
});

Deno.test("loading holds the weights of one layer at a time, and the token table as it is stored", async () => {
  const { unet, text_encoder: textEncoder } = sd14Config;
  const read = async (source: TensorSource, read: (parameters: Parameters) => unknown) => {
    const [into, packed] = [new Set<ArrayBuffer>(), new Set<ArrayBuffer>()];
    let own = 0;
    const watched: TensorSource = {
      ...source,
      // Nothing is filled in: only the memory counts.
      read(name, options) {
        const target = readTarget(source.tensors.get(name)!, options);
        if (options?.into) into.add(target.into.buffer);
        else own += target.into.length;
        return target.into;
      },
    };
    const backend = {
      pack({ data, room }: RawWeights) {
        packed.add(room!(data.byteLength));
        return {};
      },
    } as unknown as Backend;
    const ops = {
      emptyLayer: ({ out, in: inputs, taps }: WeightShape) => ({
        weights: {},
        out,
        in: inputs,
        window: Math.sqrt(taps),
      }),
      fill: (fillings: readonly Filling[]) => upload({ write() {} } as unknown as Gpu, backend, fillings),
      affine: () => {},
    } as unknown as Ops;
    const parameters = new Parameters(ops, watched);
    read(parameters);
    await parameters.load();
    const largest = (buffers: Set<ArrayBuffer>) => Math.max(...[...buffers].map(({ byteLength }) => byteLength));
    return { own, buffers: into.size, read: largest(into), packed: largest(packed) };
  };
  const shapesOf = (read: (parameters: Parameters) => unknown) => {
    const recorder = new ShapeRecorder();
    read(recorder);
    return recorder.shapes;
  };
  const model = (part: string, read: (parameters: Parameters) => unknown) => openFormula(part, shapesOf(read), "F32");

  const readUnetOf = (parameters: Parameters) => readUnet(parameters, readUnetConfig(unet));
  const held = await read(model("unet", readUnetOf), readUnetOf);
  // The largest layer of 3.4 GB: a convolution of 2560 to 1280 channels. The first ones are smaller.
  assertEquals([held.read, held.packed], [4 * 9 * 2560 * 1280, 4 * 9 * 2560 * 1280]);
  assert(held.buffers <= 12, `${held.buffers} buffers`);
  // Biases and normalisations.
  assert(held.own < 2 ** 21, `${held.own} bytes`);

  const readTextOf = (parameters: Parameters) => readTextEncoder(parameters, readTextConfig(textEncoder));
  const table = 2 * 49408 * 768;
  const text = await read(openFormula("text", shapesOf(readTextOf), "F16"), readTextOf);
  assert(text.own >= table && text.own < table + 2 ** 20, `${text.own} bytes`);
});
