/**
 * What tests of the model's stages share: the operations of this machine's GPU and comparisons with golden data.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { chooseBackends, Gpu, type Program, type Tensor } from "../../kernels/mod.ts";
import { Ops } from "../../kernels/ops.ts";
import { embedTimesteps, prepareUnet, unet, type UnetWeights } from "../../pipeline/nets/unet.ts";
import { type Golden, readGolden } from "../golden.ts";

/** Relative error that float32 kernels may have behind a block, and at the end of the UNet. */
export const ALLOWED = { block: 1e-4, unet: 1e-3 } as const;

/** What PyTorch computed with the tiny model. */
export function readStages(): ReadonlyMap<string, Golden> {
  return readGolden("fixtures/tiny-sd1/cases.safetensors");
}

/** Runs `test` with the float32 kernels that suit this machine. */
export async function withOps(test: (ops: Ops) => Promise<void>): Promise<void> {
  await using gpu = await Gpu.open();
  await test(new Ops(gpu, (await chooseBackends(gpu)).exact));
  await gpu.finish();
}

/** Records the tiny UNet on the context and sample of `golden`, and where its output will be. */
export function recordTinyUnet(
  ops: Ops,
  weights: UnetWeights,
  { golden, timestep }: { readonly golden: ReadonlyMap<string, Golden>; readonly timestep: number },
): { readonly program: Program; readonly out: Tensor } {
  const [context, timesteps, x] = [
    ops.keep({ batch: 2, channels: 32, height: 77, width: 1 }, "context"),
    ops.keep({ batch: 1, channels: 32, height: 1, width: 1 }, "timesteps"),
    ops.keep({ batch: 2, channels: 4, height: 16, width: 16 }, "sample"),
  ];
  ops.write(context, channelMajor(golden.get("unet.context")!));
  ops.write(timesteps, embedTimesteps(weights.config, [timestep]));
  ops.write(x, golden.get("unet.sample")!.data);
  const [step, out] = [ops.buffer(1, "step", "u32"), ops.keep(x, "output")];
  const program = ops.record(() => {
    ops.copy(unet(ops, weights, x, prepareUnet(ops, weights, { timesteps, step, context })), out);
  });
  return { program, out };
}

/** Values as our tensors have them: `[batch, tokens, width]` becomes `[batch, width, tokens]`, images stay. */
export function channelMajor({ shape, data }: Golden): Float32Array {
  if (shape.length !== 3) return data;
  const [batch, tokens, width] = shape as [number, number, number];
  const turned = new Float32Array(data.length);
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let c = 0; c < width; c++) turned[(b * width + c) * tokens + t] = data[(b * tokens + t) * width + c]!;
    }
  }
  return turned;
}

/** `|got - want| / |want|`, 2-norms. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    difference += (got[i]! - want[i]!) ** 2;
    size += want[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

/** Fails with the stage's name where `got` is relatively further from `want` than `allowed`. */
export function assertStage(
  stage: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  allowed: number = ALLOWED.block,
): void {
  assertEquals(got.length, want.length, `${stage} has ${got.length} values, want ${want.length}`);
  const error = relativeError(got, want);
  assert(error <= allowed, `${stage} is off by ${error}, allowed is ${allowed}`);
}

/** A golden picture `[height, width, 3]` of values 0 to 1, in 8 bits. */
export function toPixels({ data }: Golden): Uint8Array {
  return Uint8Array.from(data, (value) => Math.round(value * 255));
}

/** Peak signal-to-noise ratio of 8-bit pictures in dB. */
export function psnr(got: Uint8Array, want: Uint8Array): number {
  assertEquals(got.length, want.length);
  const squares = want.reduce((sum, value, i) => sum + (got[i]! - value) ** 2, 0);
  return 10 * Math.log10(255 ** 2 / (squares / want.length));
}
