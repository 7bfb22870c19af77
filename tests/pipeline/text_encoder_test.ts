import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Ops } from "../../kernels/ops.ts";
import { readTextConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import {
  embedTokens,
  readTextEncoder,
  textEncoder,
  type TextEncoderOptions,
  type TextWeights,
} from "../../pipeline/nets/clip.ts";
import { ModelFileError } from "../../weights/mod.ts";
import type { Golden } from "../golden.ts";
import { openTinyModel } from "../tiny_model.ts";
import { assertStage, channelMajor, readStages, relativeError, withOps } from "./stages.ts";

const golden = readStages();
const { "text.input_ids": IDS } = JSON.parse(
  Deno.readTextFileSync(new URL("../../fixtures/tiny-sd1/cases.json", import.meta.url)),
) as { readonly "text.input_ids": readonly number[] };

async function readWeights(ops: Ops): Promise<TextWeights> {
  using model = openTinyModel();
  const parameters = new Parameters(ops, model.parts.text_encoder);
  const weights = readTextEncoder(parameters, readTextConfig(model.config.text_encoder));
  await parameters.load();
  return weights;
}

/** The context and what the last layer but one returns. */
async function encode(
  ops: Ops,
  weights: TextWeights,
  ids: readonly (readonly number[])[],
  options: TextEncoderOptions = {},
) {
  const shape = { batch: ids.length, channels: weights.config.width, height: ids[0]!.length, width: 1 };
  const [embedded, context, hidden] = ["embedded", "context", "hidden"].map((label) => ops.keep(shape, label));
  ops.write(embedded!, embedTokens(weights, ids));
  const program = ops.record(() => {
    const onLayer = (layer: number, x: typeof context) => {
      if (layer === weights.layers.length - 2) ops.copy(x!, hidden!);
    };
    ops.copy(textEncoder(ops, weights, embedded!, { ...options, onLayer }), context!);
  });
  program.run();
  const values = { context: await ops.read(context!), hidden: await ops.read(hidden!) };
  program.dispose();
  return values;
}

Deno.test("the text encoder equals PyTorch", () =>
  withOps(async (ops) => {
    const { context, hidden } = await encode(ops, await readWeights(ops), [IDS]);
    assertStage("last layer but one", hidden, channelMajor(golden.get("text.hidden_states.-2")!));
    assertStage("context", context, channelMajor(golden.get("text.last_hidden_state")!));
  }));

/** Layer normalisation over the channels of `hidden [tokens, width]`, with the text encoder's last weights. */
function normalised({ shape, data }: Golden): Golden {
  using model = openTinyModel();
  const parameters = new Parameters({} as Ops, model.parts.text_encoder);
  const width = shape.at(-1)!;
  const [weight, bias] = ["weight", "bias"].map((name) => parameters.values(`final_layer_norm.${name}`, [width]));
  const { epsilon } = readTextConfig(model.config.text_encoder);
  const values = new Float32Array(data.length);
  for (let start = 0; start < data.length; start += width) {
    const column = [...data.subarray(start, start + width)];
    const mean = column.reduce((a, b) => a + b) / width;
    const variance = column.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
    column.forEach((value, c) =>
      values[start + c] = (value - mean) / Math.sqrt(variance + epsilon) * weight![c]! + bias![c]!
    );
  }
  return { shape, data: values };
}

Deno.test("clip skip 2 is PyTorch's last layer but one, normalised; 1 is the last", () =>
  withOps(async (ops) => {
    const weights = await readWeights(ops);
    const want = channelMajor(normalised(golden.get("text.hidden_states.-2")!));
    assertStage("clip skip 2", (await encode(ops, weights, [IDS], { clipSkip: 2 })).context, want);
    const last = await encode(ops, weights, [IDS]);
    assertEquals((await encode(ops, weights, [IDS], { clipSkip: 1 })).context, last.context);
    assert(relativeError(last.context, want) > 0.1, "the last two layers hardly differ");
  }));

Deno.test("prompts are encoded each for itself, and no token sees those behind it", () =>
  withOps(async (ops) => {
    const weights = await readWeights(ops);
    const changed = IDS.map((id, token) => token < 4 ? id : 1000 + token);
    const [width, tokens] = [weights.config.width, IDS.length];
    const alone = (await encode(ops, weights, [changed])).context;
    const { context } = await encode(ops, weights, [IDS, changed]);
    assertStage("the second prompt of two", context.subarray(width * tokens), alone);
    const first = (values: Float32Array) => values.filter((_, i) => i % tokens < 4);
    assertStage("the tokens before the first that differs", first(alone), first(context.subarray(0, width * tokens)));
  }));

Deno.test("tokens that have no embedding are refused", () =>
  withOps(async (ops) => {
    const weights = await readWeights(ops);
    for (const id of [-1, 49408, 0.5, NaN]) {
      assertThrows(
        () => embedTokens(weights, [[0, id]]),
        ModelFileError,
        `has a token ${id}; the text encoder's vocabulary`,
      );
    }
    assertThrows(
      () => embedTokens(weights, [[...IDS, 0]]),
      ModelFileError,
      "makes 78 tokens; the text encoder reads 77",
    );
    assertEquals(embedTokens(weights, [IDS]).length, 77 * 32);
  }));
