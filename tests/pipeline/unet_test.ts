import { assert, assertEquals } from "@std/assert";
import type { Ops } from "../../kernels/ops.ts";
import type { Memory, Tensor } from "../../kernels/tensor.ts";
import type { Visit } from "../../pipeline/nets/blocks.ts";
import { readUnetConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import {
  embedTimesteps,
  prepareUnet,
  readUnet,
  unet,
  type UnetConditions,
  type UnetWeights,
} from "../../pipeline/nets/unet.ts";
import type { Golden } from "../golden.ts";
import { openTinyModel } from "../tiny_model.ts";
import { ALLOWED, assertStage, channelMajor, readStages, withOps } from "./stages.ts";

const golden = readStages();
const TIMESTEPS = [981, 500, 1];
const BLOCK = "unet.block.";

async function readWeights(ops: Ops): Promise<UnetWeights> {
  using model = openTinyModel();
  const parameters = new Parameters(ops, model.parts.unet);
  const weights = readUnet(parameters, readUnetConfig(model.config.unet));
  await parameters.load();
  return weights;
}

/** Conditions for the timesteps and `context [batch, tokens, width]`, and the index of the running step. */
function condition(ops: Ops, weights: UnetWeights, context: Golden): { conditions: UnetConditions; step: Memory } {
  const [batch, height, channels] = context.shape as [number, number, number];
  const kept = ops.keep({ batch, channels, height, width: 1 }, "context");
  ops.write(kept, channelMajor(context));
  const embedded = embedTimesteps(weights.config, TIMESTEPS);
  const width = embedded.length / TIMESTEPS.length;
  const timesteps = ops.keep({ batch: 1, channels: width, height: TIMESTEPS.length, width: 1 }, "timesteps");
  ops.write(timesteps, embedded);
  const step = ops.buffer(1, "step", "u32");
  let conditions: UnetConditions;
  const program = ops.record(() => conditions = prepareUnet(ops, weights, { timesteps, step, context: kept }));
  program.run();
  program.dispose();
  return { conditions: conditions!, step };
}

/** Records the UNet from one kept tensor to another. */
function recordUnet(ops: Ops, weights: UnetWeights, conditions: UnetConditions, x: Tensor, visit?: Visit) {
  const out = ops.keep(x, "output");
  return { out, program: ops.record(() => ops.copy(unet(ops, weights, x, conditions, visit && { visit }), out)) };
}

Deno.test("the UNet equals PyTorch at three timesteps and behind every block", () =>
  withOps(async (ops) => {
    const weights = await readWeights(ops);
    const { conditions, step } = condition(ops, weights, golden.get("unet.context")!);
    const x = ops.keep({ batch: 2, channels: 4, height: 16, width: 16 }, "sample");
    ops.write(x, golden.get("unet.sample")!.data);
    const stages = new Map<string, Tensor>();
    const { out, program } = recordUnet(ops, weights, conditions, x, (name, value) => {
      if (!golden.has(BLOCK + name)) return;
      stages.set(name, ops.keep(value, name));
      ops.copy(value, stages.get(name)!);
    });
    assertEquals(stages.size, 13, [...stages.keys()].join(", "));
    for (const [index, timestep] of TIMESTEPS.entries()) {
      ops.gpu.write(step, Uint32Array.of(index));
      program.run();
      // In the order of the UNet, so that the first stage to differ is the one that fails; golden at 981.
      for (const [name, value] of index === 0 ? stages : []) {
        assertStage(name, await ops.read(value), channelMajor(golden.get(BLOCK + name)!));
      }
      const want = golden.get(`unet.out.t${timestep}`)!.data;
      assertStage(`output at ${timestep}`, await ops.read(out), want, ALLOWED.unet);
    }
    program.dispose();
  }));

Deno.test("a batch of odd size is its samples one by one", () =>
  withOps(async (ops) => {
    const weights = await readWeights(ops);
    const context = golden.get("unet.context")!;
    const shape = { channels: 4, height: 17, width: 15 };
    const elements = 4 * 17 * 15;
    const sample = golden.get("unet.sample")!.data.subarray(0, 2 * elements);
    const run = async (batch: number, context: Golden, values: Float32Array) => {
      const { conditions, step } = condition(ops, weights, context);
      ops.gpu.write(step, Uint32Array.of(1));
      const x = ops.keep({ batch, ...shape }, "sample");
      ops.write(x, values);
      const { out, program } = recordUnet(ops, weights, conditions, x);
      program.run();
      const result = await ops.read(out);
      program.dispose();
      return result;
    };
    const both = await run(2, context, sample);
    assert(both.every(Number.isFinite));
    const half = context.data.length / 2;
    for (const index of [0, 1]) {
      const own = {
        shape: [1, ...context.shape.slice(1)],
        data: context.data.subarray(index * half, (index + 1) * half),
      };
      const part = (values: Float32Array) => values.subarray(index * elements, (index + 1) * elements);
      assertStage(`sample ${index}`, part(both), await run(1, own, part(sample)));
    }
  }));

Deno.test("timestep 0 has sines of 0 and cosines of 1, others the frequencies in order", () => {
  using model = openTinyModel();
  const config = readUnetConfig(model.config.unet);
  const [embedded, swapped] = [true, false].map((flipSineToCosine) =>
    embedTimesteps({ ...config, flipSineToCosine }, [0, 3])
  ) as [Float32Array, Float32Array];
  const column = (values: Float32Array, index: number) => Array.from(values).filter((_, i) => i % 2 === index);
  assertEquals(column(embedded, 0), Array.from({ length: 32 }, (_, i) => i < 16 ? 1 : 0));
  assertEquals(column(swapped, 1), [...column(embedded, 1).slice(16), ...column(embedded, 1).slice(0, 16)]);
  assertStage(
    "cosines",
    column(embedded, 1).slice(0, 16),
    Array.from({ length: 16 }, (_, i) => Math.cos(3 * 1e4 ** (-i / 16))),
  );
});
