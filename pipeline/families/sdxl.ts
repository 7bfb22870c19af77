/**
 * Stable Diffusion XL (arXiv 2307.01952): two text encoders, whose last layers but one are the context side by side;
 * the second's pooled text and the picture's sizes are added to the timestep.
 * @module
 */
import type { Memory, Ops, Tensor } from "../../kernels/mod.ts";
import type { Layer } from "../../kernels/ops.ts";
import { type ByPart, type ModelConfig, ModelFileError } from "../../weights/mod.ts";
import { readTextEncoder, textEncoder, type TextWeights } from "../nets/clip.ts";
import { readProjectionWidth, readTextConfig, readUnetConfig } from "../nets/config.ts";
import type { ControlNetWeights } from "../nets/controlnet.ts";
import type { Parameters } from "../nets/parameters.ts";
import { embedSizes, readUnet, type UnetWeights } from "../nets/unet.ts";
import type { PromptChunk } from "../prompt/chunks.ts";
import { assembleContext } from "../prompt/emphasis.ts";
import { type Request, RequestError } from "../request.ts";
import type { Conditions, Family, Inputs, LatentFormat, Net, Run } from "./family.ts";
import { checkChannels, newPrompts, recordShared, recordText, repeat, stableDiffusion } from "./stable_diffusion.ts";

/** The VAE of Stable Diffusion XL; the colours are those that ComfyUI has for it (`latent_formats.py`). */
const LATENT: LatentFormat = {
  rgb: [
    [0.3651, 0.4232, 0.4341],
    [-0.2533, -0.0042, 0.1068],
    [0.1076, 0.1111, -0.0362],
    [-0.3165, -0.2492, -0.2188],
    [0.1084, -0.0175, -0.0011],
  ],
};

export const sdxl: Family = stableDiffusion({
  name: "SDXL",
  latent: LATENT,
  defaults: { steps: 30, guidance: 5, longPrompt: "chunk" },
  matches: ({ unet }) => unet.addition_embed_type === "text_time",
  check,
  read,
});

interface Weights {
  readonly texts: readonly [TextWeights, TextWeights];
  /** From the second text encoder's end token to the pooled text. */
  readonly projection: Layer;
  readonly unet: UnetWeights;
  /** Whether the unconditional context is zeros where nothing is steered away from. */
  readonly zeros: boolean;
}

/** Sizes that are embedded: those of the original, where the picture begins in it, and its own. */
const SIZES = 6;

function check({ clipSkip = 1 }: Request, config: ModelConfig): void {
  const most = Math.min(...readTexts(config).map(({ layers }) => layers)) - 1;
  if (Number.isInteger(clipSkip) && clipSkip >= 1 && clipSkip <= most) return;
  throw new RequestError("clipSkip", `the text encoders have layers 1 to ${most} to read, not ${clipSkip}`);
}

function readTexts({ text_encoder: first, text_encoder_2: second }: ModelConfig) {
  if (second) return [readTextConfig(first), readTextConfig(second, "text_encoder_2")] as const;
  throw new ModelFileError("unet/config.json", "is that of Stable Diffusion XL, but there is no second text encoder");
}

function read(parameters: ByPart<Parameters>, config: ModelConfig): Net {
  const [first, second] = readTexts(config);
  const pooled = readProjectionWidth(config.text_encoder_2!);
  const unet = readUnetConfig(config.unet);
  checkChannels(unet, config);
  const fail = (problem: string) => {
    throw new ModelFileError("unet/config.json", problem);
  };
  const [width, sizes] = [first.width + second.width, SIZES * unet.added!.sizeWidth];
  if (unet.contextWidth !== width) {
    fail(`reads a context of width ${unet.contextWidth}, and the text encoders write ${width}`);
  }
  if (unet.added!.width !== pooled + sizes) {
    fail(`adds ${unet.added!.width} values to the timestep, but pooled text and sizes have ${pooled} and ${sizes}`);
  }
  if (unet.guidanceWidth !== undefined) fail("embeds guidance, which with Stable Diffusion XL is not supported");
  const weights: Weights = {
    texts: [readTextEncoder(parameters.text_encoder, first), readTextEncoder(parameters.text_encoder_2!, second)],
    projection: parameters.text_encoder_2!.layer("text_projection", { in: second.width, out: pooled, bias: false }),
    unet: readUnet(parameters.unet, unet),
    zeros: config.index?.force_zeros_for_empty_prompt !== false,
  };
  return { condition: (ops, run, step, controls) => condition(ops, weights, { run, step, controls }) };
}

async function condition(
  ops: Ops,
  w: Weights,
  { run, step, controls }: { run: Run; step: Memory; controls: readonly ControlNetWeights[] | undefined },
): Promise<Conditions> {
  const { samples, chunks, tokens, evaluations, clipSkip } = run;
  const [first, second] = w.texts;
  const { config } = w.unet;
  const record = (text: TextWeights, onLast?: (last: Tensor) => void) =>
    recordText(ops, text, run, (embedded, encoded) => {
      const onLayer = (layer: number, x: Tensor) => {
        if (layer === text.config.layers - 1 - clipSkip) ops.copy(x, encoded);
      };
      const last = textEncoder(ops, text, embedded, { onLayer });
      onLast?.(last);
    });
  const perStep = (channels: number, label: string) =>
    ops.keep({ batch: samples, channels, height: evaluations, width: 1 }, label);
  const context = ops.keep(
    { batch: samples, channels: config.contextWidth, height: chunks * tokens, width: 1 },
    "context",
  );
  const last = ops.keep({ batch: samples * chunks, channels: second.config.width, height: tokens, width: 1 }, "last");
  const ends = perStep(second.config.width, "end tokens");
  const sizes = perStep(SIZES * config.added!.sizeWidth, "sizes");
  const texts = [record(first), record(second, (x) => ops.copy(x, last))] as const;
  const { out: width } = w.projection;
  const pooled = ops.keep({ ...ends, channels: width }, "pooled text", { exact: false });
  const project = () => void ops.linear(ends, w.projection, { into: pooled });
  await ops.tune(project);
  const projecting = ops.record(project);
  const added = () => ops.concat(pooled, sizes);
  const shared = await recordShared(ops, w.unet, { run, step, context, added, controls });
  const encode = newPrompts(async (prompts, request) => {
    texts.forEach((text, i) => text.run(prompts[i]!));
    const contexts = await Promise.all(
      texts.map(async ({ encoded }, i) => assembleContext(await ops.read(encoded), prompts[i]!)),
    );
    const found = endTokens(await ops.read(last), prompts[1]!);
    // As diffusers does, where no negative prompt is given. The projection has no bias, so that zeros stay zeros.
    if (w.zeros && samples === 2 && request.negativePrompt === "") {
      for (const values of [...contexts, found]) values.fill(0, 0, values.length / samples);
    }
    ops.write(context, interleave(contexts, samples));
    ops.write(ends, spread(found, evaluations));
    projecting.run();
  });
  return {
    texts: [...texts.map(({ program }) => program), projecting],
    shared: shared.program,
    context,
    async prepare(inputs, enter) {
      await encode(inputs, enter);
      await enter?.("denoise");
      ops.write(sizes, repeat(spread(embedSizes(config, sizesOf(inputs.request)), evaluations), samples));
      shared.run(inputs);
    },
    predict: shared.predict,
    dispose() {
      for (const recorded of [...texts, projecting, shared]) recorded.dispose();
      for (const { memory } of [context, last, ends, pooled, sizes]) ops.gpu.free(memory);
    },
  };
}

/** What is added of a picture's sizes: rows before columns. */
function sizesOf({ width, height, ...request }: Inputs["request"]): readonly number[] {
  const { originalWidth = width, originalHeight = height, cropLeft = 0, cropTop = 0 } = request;
  return [originalHeight, originalWidth, cropTop, cropLeft, height, width];
}

/** Of `last [samples x chunks, width, tokens]`, the end tokens of each sample's first chunk, `[samples, width]`. */
function endTokens(last: Float32Array, prompts: readonly (readonly PromptChunk[])[]): Float32Array {
  const size = last.length / prompts.flat().length;
  return Float32Array.from(prompts.flatMap((chunks, sample) => {
    const { ids, tokens } = chunks[0]!;
    // The first one there is: a prompt may name it.
    const end = ids.indexOf(ids[tokens.length + 1]!);
    const chunk = last.subarray(sample * chunks.length * size, (sample * chunks.length + 1) * size);
    return [...chunk.filter((_, i) => i % ids.length === end)];
  }));
}

/** Each value `count` times: a column for each step. */
function spread(values: Float32Array, count: number): Float32Array {
  return Float32Array.from({ length: values.length * count }, (_, i) => values[Math.floor(i / count)]!);
}

/** Samples of several tensors as one tensor's: the channels of each after those of the one before. */
function interleave(tensors: readonly Float32Array[], samples: number): Float32Array {
  const parts = Array.from({ length: samples }, (_, sample) =>
    tensors.map((values) => {
      const size = values.length / samples;
      return values.subarray(sample * size, (sample + 1) * size);
    })).flat();
  const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const part of parts) {
    joined.set(part, end);
    end += part.length;
  }
  return joined;
}
