/**
 * What all families around CLIP's text encoder and the UNet share (arXiv 2112.10752).
 * @module
 */
import type { Memory, Ops, Program, Tensor } from "../../kernels/mod.ts";
import { type ByPart, type ModelConfig, ModelFileError } from "../../weights/mod.ts";
import { embedTokens, readTextEncoder, textEncoder, type TextWeights } from "../nets/clip.ts";
import { readTextConfig, readUnetConfig, readVaeConfig, type UnetConfig } from "../nets/config.ts";
import { control, type ControlConditions, type ControlNetWeights, embedHint } from "../nets/controlnet.ts";
import type { Parameters } from "../nets/parameters.ts";
import {
  embedGuidance,
  embedTimesteps,
  prepareUnet,
  readUnet,
  unet,
  type UnetConditions,
  type UnetWeights,
} from "../nets/unet.ts";
import type { PromptChunk } from "../prompt/chunks.ts";
import { assembleContext, isWeighted } from "../prompt/emphasis.ts";
import { isGuided, type Request, RequestError, SIZE_SETTINGS } from "../request.ts";
import {
  type Conditions,
  type Enter,
  type Family,
  type Inputs,
  type LatentFormat,
  type Net,
  type Run,
  usedControls,
} from "./family.ts";

/** The VAE of Stable Diffusion 1.x and 2.x; the colours are those that ComfyUI has for it (`latent_formats.py`). */
const LATENT: LatentFormat = {
  rgb: [
    [0.3512, 0.2297, 0.3227],
    [0.3250, 0.4974, 0.2350],
    [-0.2829, 0.1762, 0.2721],
    [-0.2120, -0.2616, -0.7177],
    [0, 0, 0],
  ],
};

/** A family that differs from Stable Diffusion 1.x in `own`. */
export function stableDiffusion(own: Pick<Family, "name" | "matches"> & Partial<Family>): Family {
  return {
    latent: LATENT,
    defaults: { steps: 20, guidance: 7.5, longPrompt: "chunk" },
    check: checkRequest,
    prompts: (request) => isGuided(request) ? [request.negativePrompt, request.prompt] : [request.prompt],
    read: (parameters, config) => readNet(parameters, config, 0),
    ...own,
  };
}

/** The check of families that need no more of a request. */
export function checkRequest({ clipSkip = 1, ...request }: Request, config: ModelConfig): void {
  const told = SIZE_SETTINGS.find((setting) => request[setting] !== undefined);
  if (told) throw new RequestError(told, "only models of Stable Diffusion XL are told it");
  const { layers } = readTextConfig(config.text_encoder);
  if (Number.isInteger(clipSkip) && clipSkip >= 1 && clipSkip <= layers) return;
  throw new RequestError("clipSkip", `the text encoder has layers 1 to ${layers}, not ${clipSkip}`);
}

/** Reads text encoder and UNet, whose input has `kept` channels more than the latent. */
export function readNet(parameters: ByPart<Parameters>, config: ModelConfig, kept: number): Net {
  const text = readTextConfig(config.text_encoder);
  const unet = readUnetConfig(config.unet);
  checkChannels(unet, config, kept);
  if (unet.contextWidth !== text.width) {
    const widths = `${unet.contextWidth}, and the text encoder writes ${text.width}`;
    throw new ModelFileError("unet/config.json", `reads a context of width ${widths}`);
  }
  const weights = {
    text: readTextEncoder(parameters.text_encoder, text),
    unet: readUnet(parameters.unet, unet),
  };
  return { condition: (ops, run, step, controls) => condition(ops, weights, { run, step, controls }) };
}

/**
 * Holds a UNet's channels against the VAE's.
 *
 * @throws {ModelFileError} when they do not fit.
 */
export function checkChannels({ inChannels, outChannels }: UnetConfig, { vae }: ModelConfig, kept = 0): void {
  const { latentChannels } = readVaeConfig(vae);
  if (inChannels === latentChannels + kept && outChannels === latentChannels) return;
  const shape = `${inChannels} channels to ${outChannels}`;
  throw new ModelFileError("unet/config.json", `maps ${shape}, but the VAE's latents have ${latentChannels}`);
}

async function condition(
  ops: Ops,
  w: { readonly text: TextWeights; readonly unet: UnetWeights },
  { run, step, controls }: { run: Run; step: Memory; controls: readonly ControlNetWeights[] | undefined },
): Promise<Conditions> {
  const { samples, tokens, chunks } = run;
  const text = recordText(ops, w.text, run);
  const { encoded } = text;
  const context = chunks === 1 ? encoded : ops.keep({ ...encoded, batch: samples, height: chunks * tokens }, "context");
  const shared = await recordShared(ops, w.unet, { run, step, context, controls });
  const encode = newPrompts(async ([prompts]) => {
    text.run(prompts!);
    if (chunks > 1 || prompts!.flat().some(isWeighted)) {
      ops.write(context, assembleContext(await ops.read(encoded), prompts!));
    }
  });
  return {
    texts: [text.program],
    shared: shared.program,
    context,
    async prepare(inputs, enter) {
      await encode(inputs, enter);
      await enter?.("denoise");
      shared.run(inputs);
    },
    predict: shared.predict,
    dispose() {
      text.dispose();
      shared.dispose();
      if (chunks > 1) ops.gpu.free(context.memory);
    },
  };
}

/** Prompts as {@link Inputs} have them. */
type Prompts = Inputs["prompts"];

/** Runs `encode` in the stage of the text encoders, for other prompts than those it was last run for. */
export function newPrompts(
  encode: (prompts: Prompts, request: Inputs["request"]) => Promise<void>,
): (inputs: Inputs, enter?: Enter) => Promise<void> {
  let last: Prompts | undefined;
  return async ({ prompts, request }, enter) => {
    if (prompts === last) return;
    last = undefined;
    await enter?.("text");
    await encode(prompts, request);
    last = prompts;
  };
}

/** A text encoder, recorded for a run. */
export interface RecordedText {
  readonly program: Program;
  /** What it returns, `[samples x chunks, width, tokens]`. */
  readonly encoded: Tensor;
  /** Submits it for the chunks of each sample's prompt. */
  run(prompts: readonly (readonly PromptChunk[])[]): void;
  dispose(): void;
}

/** Records a text encoder; `build` is what of it is recorded, by default the layer that is the context. */
export function recordText(
  ops: Ops,
  w: TextWeights,
  { samples, chunks, tokens, clipSkip }: Run,
  build = (embedded: Tensor, encoded: Tensor) => ops.copy(textEncoder(ops, w, embedded, { clipSkip }), encoded),
): RecordedText {
  const shape = { batch: samples * chunks, channels: w.config.width, height: tokens, width: 1 };
  const embedded = ops.keep(shape, "embedded tokens");
  const encoded = ops.keep(shape, "encoded tokens");
  const program = ops.record(() => build(embedded, encoded));
  return {
    program,
    encoded,
    run(prompts) {
      ops.write(embedded, embedTokens(w, prompts.flat().map(rowsOf)));
      program.run();
    },
    dispose() {
      program.dispose();
      for (const { memory } of [embedded, encoded]) ops.gpu.free(memory);
    },
  };
}

/** A chunk's ids, and vectors in the places of those that have one. */
function rowsOf({ ids, tokens }: PromptChunk): readonly (number | Float32Array)[] {
  return ids.map((id, i) => tokens[i - 1]?.vector ?? id);
}

/** What all evaluations of a UNet share, recorded for a run. */
export interface SharedConditions extends Pick<Conditions, "predict" | "dispose"> {
  readonly program: Program;
  /** Submits it for a picture, whose context and `added` are there. */
  run(inputs: Inputs): void;
}

/** Records what all evaluations share; `added` records what each sample has beside its timesteps, if it has anything. */
export async function recordShared(
  ops: Ops,
  w: UnetWeights,
  { run, step, context, added, controls = [] }: {
    run: Run;
    step: Memory;
    context: Tensor;
    added?: () => Tensor;
    controls: readonly ControlNetWeights[] | undefined;
  },
): Promise<SharedConditions> {
  const { config } = w;
  const { evaluations } = run;
  const batch = added ? run.samples : 1;
  const perStep = (channels: number, label: string) =>
    ops.keep({ batch, channels, height: evaluations, width: 1 }, label);
  const timesteps = perStep(config.down[0]!.channels, "timesteps");
  const guidance = config.guidanceWidth === undefined ? undefined : perStep(config.guidanceWidth, "guidance");
  const seen = new Map(usedControls(run).map((number) => [number, keepPicture(ops, controls[number]!, run)]));
  let shared: UnetConditions;
  let steered: ReadonlyMap<number, ControlConditions>;
  const share = () => {
    const inputs = { timesteps, guidance, added: added?.(), step, context };
    shared = prepareUnet(ops, w, inputs);
    steered = new Map(
      Array.from(seen, ([number, picture]) => {
        const own = controls[number]!;
        return [number, { ...prepareUnet(ops, own, inputs), hint: embedHint(ops, own, picture) }];
      }),
    );
  };
  await ops.tune(share);
  const program = ops.record(share);
  return {
    program,
    run(inputs) {
      ops.write(timesteps, repeat(embedTimesteps(config, inputs.timesteps), batch));
      if (guidance) ops.write(guidance, repeat(embedGuidance(config, inputs.request.guidance, evaluations), batch));
      for (const [number, picture] of seen) ops.write(picture, repeat(inputs.hint!(number), run.samples));
      program.run();
    },
    predict: (x, active = []) =>
      unet(ops, w, x, shared, {
        control: (encoded) =>
          active.reduce((encoded, number) => {
            return control(ops, controls[number]!, x, { conditions: steered.get(number)!, encoded });
          }, encoded),
      }),
    dispose() {
      program.dispose();
      const conditions = [shared, ...steered.values()].flatMap(({ time, contextKv }) => [time, ...contextKv]);
      const hints = Array.from(steered.values(), ({ hint }) => hint);
      const tensors = [timesteps, guidance, ...conditions, ...seen.values(), ...hints];
      for (const memory of new Set(tensors.flatMap((tensor) => tensor?.memory ?? []))) ops.gpu.free(memory);
    },
  };
}

/** Memory for what a ControlNet sees, the same for each sample. */
function keepPicture(ops: Ops, { config }: ControlNetWeights, { samples: batch, height, width }: Run): Tensor {
  const factor = 2 ** (config.hintChannels.length - 1);
  return ops.keep({ batch, channels: 3, height: height * factor, width: width * factor }, "control picture");
}

/** `values` for each of `count` samples. */
export function repeat(values: Float32Array, count: number): Float32Array {
  const all = new Float32Array(count * values.length);
  for (let i = 0; i < count; i++) all.set(values, i * values.length);
  return all;
}
