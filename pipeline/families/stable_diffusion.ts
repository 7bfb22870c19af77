/**
 * What all families around CLIP's text encoder and the UNet share (arXiv 2112.10752).
 * @module
 */
import type { Memory, Ops } from "../../kernels/mod.ts";
import { type ByPart, type ModelConfig, ModelFileError } from "../../weights/mod.ts";
import { embedTokens, readTextEncoder, textEncoder, type TextWeights } from "../nets/clip.ts";
import { readTextConfig, readUnetConfig, readVaeConfig } from "../nets/config.ts";
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
import { assembleContext, isWeighted } from "../prompt/emphasis.ts";
import { isGuided, type Request, RequestError } from "../request.ts";
import type { Conditions, Family, LatentFormat, Net, Run } from "./family.ts";

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
export function checkRequest({ clipSkip = 1 }: Request, config: ModelConfig): void {
  const { layers } = readTextConfig(config.text_encoder);
  if (Number.isInteger(clipSkip) && clipSkip >= 1 && clipSkip <= layers) return;
  throw new RequestError("clipSkip", `the text encoder has layers 1 to ${layers}, not ${clipSkip}`);
}

/** Reads text encoder and UNet, whose input has `kept` channels more than the latent. */
export function readNet(parameters: ByPart<Parameters>, config: ModelConfig, kept: number): Net {
  const text = readTextConfig(config.text_encoder);
  const unet = readUnetConfig(config.unet);
  const { latentChannels } = readVaeConfig(config.vae);
  if (unet.inChannels !== latentChannels + kept || unet.outChannels !== latentChannels) {
    const shape = `${unet.inChannels} channels to ${unet.outChannels}`;
    throw new ModelFileError("unet/config.json", `maps ${shape}, but the VAE's latents have ${latentChannels}`);
  }
  if (unet.contextWidth !== text.width) {
    const widths = `${unet.contextWidth}, and the text encoder writes ${text.width}`;
    throw new ModelFileError("unet/config.json", `reads a context of width ${widths}`);
  }
  const weights = {
    text: readTextEncoder(parameters.text_encoder, text),
    unet: readUnet(parameters.unet, unet),
  };
  return { condition: (ops, run, step) => condition(ops, weights, { run, step }) };
}

async function condition(
  ops: Ops,
  w: { readonly text: TextWeights; readonly unet: UnetWeights },
  { run, step }: { run: Run; step: Memory },
): Promise<Conditions> {
  const { samples, evaluations, tokens, chunks, clipSkip } = run;
  const { config } = w.unet;
  const chunkShape = { batch: samples * chunks, channels: w.text.config.width, height: tokens, width: 1 };
  const embedded = ops.keep(chunkShape, "embedded tokens");
  const encoded = ops.keep(chunkShape, "encoded tokens");
  const context = chunks === 1
    ? encoded
    : ops.keep({ ...chunkShape, batch: samples, height: chunks * tokens }, "context");
  const perStep = (channels: number, label: string) =>
    ops.keep({ batch: 1, channels, height: evaluations, width: 1 }, label);
  const timesteps = perStep(config.down[0]!.channels, "timesteps");
  const guidance = config.guidanceWidth === undefined ? undefined : perStep(config.guidanceWidth, "guidance");

  const share = () => prepareUnet(ops, w.unet, { timesteps, guidance, step, context });
  await ops.tune(share);
  let shared: UnetConditions;
  const encoding = ops.record(() => ops.copy(textEncoder(ops, w.text, embedded, { clipSkip }), encoded));
  const sharing = ops.record(() => shared = share());
  return {
    programs: [encoding, sharing],
    encoded,
    async prepare(inputs) {
      const all = inputs.prompts.flat();
      ops.write(embedded, embedTokens(w.text, all.map(({ ids }) => ids)));
      ops.write(timesteps, embedTimesteps(config, inputs.timesteps));
      if (guidance) ops.write(guidance, embedGuidance(config, inputs.guidance, evaluations));
      encoding.run();
      if (chunks > 1 || all.some(isWeighted)) {
        ops.write(context, assembleContext(await ops.read(encoded), inputs.prompts));
      }
      sharing.run();
    },
    predict: (x) => unet(ops, w.unet, x, shared),
    dispose() {
      encoding.dispose();
      sharing.dispose();
      const tensors = [embedded, encoded, context, timesteps, guidance, shared.time, ...shared.contextKv];
      for (const memory of new Set(tensors.flatMap((tensor) => tensor?.memory ?? []))) ops.gpu.free(memory);
    },
  };
}
