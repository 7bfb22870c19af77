import { assertEquals, assertThrows } from "@std/assert";
import type { Ops } from "../../kernels/ops.ts";
import { readTextConfig } from "../../pipeline/config.ts";
import { Parameters } from "../../pipeline/parameters.ts";
import { embedTokens, readTextEncoder, textEncoder, type TextWeights } from "../../pipeline/text_encoder.ts";
import { openTinyModel } from "../tiny_model.ts";
import { assertStage, channelMajor, readStages, withOps } from "./stages.ts";

const golden = readStages();
const { "text.input_ids": IDS } = JSON.parse(
  Deno.readTextFileSync(new URL("../../fixtures/tiny-sd1/cases.json", import.meta.url)),
) as { readonly "text.input_ids": readonly number[] };

function readWeights(ops: Ops): TextWeights {
  using model = openTinyModel();
  return readTextEncoder(new Parameters(ops, model.textEncoder), readTextConfig(model.config.textEncoder));
}

/** The context and what the last layer but one returns. */
async function encode(ops: Ops, weights: TextWeights, ids: readonly (readonly number[])[]) {
  const shape = { batch: ids.length, channels: weights.config.width, height: ids[0]!.length, width: 1 };
  const [embedded, context, hidden] = ["embedded", "context", "hidden"].map((label) => ops.keep(shape, label));
  ops.write(embedded!, embedTokens(weights, ids));
  const program = ops.record(() => {
    const copyHidden = (layer: number, x: typeof context) => {
      if (layer === weights.layers.length - 2) ops.copy(x!, hidden!);
    };
    ops.copy(textEncoder(ops, weights, embedded!, copyHidden), context!);
  });
  program.run();
  const values = { context: await ops.read(context!), hidden: await ops.read(hidden!) };
  program.dispose();
  return values;
}

Deno.test("the text encoder equals PyTorch", () =>
  withOps(async (ops) => {
    const { context, hidden } = await encode(ops, readWeights(ops), [IDS]);
    assertStage("last layer but one", hidden, channelMajor(golden.get("text.hidden_states.-2")!));
    assertStage("context", context, channelMajor(golden.get("text.last_hidden_state")!));
  }));

Deno.test("prompts are encoded each for itself, and no token sees those behind it", () =>
  withOps(async (ops) => {
    const weights = readWeights(ops);
    const changed = IDS.map((id, token) => token < 4 ? id : 1000 + token);
    const [width, tokens] = [weights.config.width, IDS.length];
    const alone = (await encode(ops, weights, [changed])).context;
    const { context } = await encode(ops, weights, [IDS, changed]);
    assertStage("the second prompt of two", context.subarray(width * tokens), alone);
    const first = (values: Float32Array) => values.filter((_, i) => i % tokens < 4);
    assertStage("the tokens before the first that differs", first(alone), first(context.subarray(0, width * tokens)));
  }));

Deno.test("tokens that have no embedding are refused", () =>
  withOps((ops) => {
    const weights = readWeights(ops);
    for (const id of [-1, 49408, 0.5, NaN]) {
      assertThrows(() => embedTokens(weights, [[0, id]]), RangeError, `Token ${id} is not in a vocabulary of 49408`);
    }
    assertThrows(() => embedTokens(weights, [[...IDS, 0]]), RangeError, "78 tokens for a text encoder of 77");
    assertEquals(embedTokens(weights, [IDS]).length, 77 * 32);
    return Promise.resolve();
  }));
